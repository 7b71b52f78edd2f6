"""Conversations: a question may build on the ones before it.

Only what the user asked is kept, never what the desk answered: an answer holds document text, and a
permission that was revoked since must not come back into a prompt by way of it.
"""

from __future__ import annotations

import uuid

from retrieval.access import Principal
from retrieval.adapters.sql.conversations import ConversationTurn, SqlConversations
from retrieval.wiring import utc_now
from serving.answer import Turn
from serving.desk import Desk

_MAX_TURNS = 6
"""Earlier questions that are handed on; older ones have rarely to do with the present one."""


class Conversations:
    """Earlier questions of conversations, each visible to its user only."""

    def __init__(self, desk: Desk) -> None:
        """Keep conversations in the desk's catalogue."""
        self._stored = SqlConversations(desk.database, utc_now)

    def begin_or_continue(
        self, principal: Principal, conversation_id: str | None, question: str
    ) -> tuple[str, tuple[Turn, ...]]:
        """Note a question and return the conversation's id with the questions before it.

        An id that this user has not used before begins a conversation, whoever else has used it.
        """
        id_ = conversation_id or str(uuid.uuid4())
        earlier = self._stored.turns(id_, principal.user_id, limit=_MAX_TURNS) if conversation_id else []
        self._stored.add(id_, principal.user_id, ConversationTurn("user", question))
        return id_, tuple(Turn("user", turn.text) for turn in earlier)
