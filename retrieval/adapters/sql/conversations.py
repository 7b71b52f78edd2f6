"""Earlier turns of conversations in SQL. A turn is visible to the user who led the conversation only."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from retrieval.access import UserId
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import ConversationTurnRow


@dataclass(frozen=True, slots=True)
class ConversationTurn:
    """One message. `role` is `user` or `assistant`."""

    role: str
    text: str


class SqlConversations:
    """Turns in SQL, by conversation and user: the same id led by two users is two conversations."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep turns in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def turns(self, conversation_id: str, user_id: UserId, *, limit: int) -> list[ConversationTurn]:
        """The newest `limit` turns that this user led, oldest first; none for an unknown conversation."""
        query = (
            select(ConversationTurnRow)
            .where(
                ConversationTurnRow.conversation_id == conversation_id,
                ConversationTurnRow.user_id == user_id,
            )
            .order_by(ConversationTurnRow.id.desc())
            .limit(limit)
        )
        with self._database.read() as session:
            rows = list(session.scalars(query))
        return [ConversationTurn(row.role, row.text) for row in reversed(rows)]

    def add(self, conversation_id: str, user_id: UserId, turn: ConversationTurn) -> None:
        """Append a turn."""
        with self._database.write() as session:
            session.add(
                ConversationTurnRow(
                    conversation_id=conversation_id,
                    user_id=user_id,
                    role=turn.role,
                    text=turn.text,
                    created_at=self._clock(),
                )
            )
