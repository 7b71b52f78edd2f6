"""What readers say about answers, in SQL."""

from __future__ import annotations

from retrieval.access import UserId
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import FeedbackRow


class SqlFeedback:
    """Feedback in SQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep feedback in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def add(self, *, request_id: str, user_id: UserId, rating: int, comment: str) -> None:
        """Keep a reader's word on the answer of a request. `rating` is -1 or 1."""
        with self._database.write() as session:
            session.add(
                FeedbackRow(
                    request_id=request_id,
                    user_id=user_id,
                    rating=rating,
                    comment=comment,
                    created_at=self._clock(),
                )
            )
