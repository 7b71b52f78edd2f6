"""Which failure is tried again, and after how long. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval import errors
from retrieval.errors import RefdeskError
from retrieval.jobs import MAX_ATTEMPTS, retry_delay_s


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a job that failed.

    Attributes:
        retry_in_s: Seconds until the next attempt, None when there is none.
        counts: Whether this attempt counts against the document.
    """

    retry_in_s: float | None
    counts: bool = True

    @property
    def is_final(self) -> bool:
        """Whether the job has failed for good."""
        return self.retry_in_s is None


class UnexpectedError(RefdeskError):
    """A failure that nobody foresaw; its details are in the log only."""

    code = "internal_error"
    retryable = True


_NOT_ITS_FAULT = (
    errors.CatalogueUnavailableError,
    errors.EmbedderUnavailableError,
    errors.IndexUnavailableError,
)
_PART_RETRY_S = 10.0


def judge(error: RefdeskError, attempt: int) -> Verdict:
    """Decide on a job whose `attempt`-th attempt (from 1) raised `error`.

    A part of the desk that is down uses up no document's attempts: the job waits until the part is back.
    """
    if isinstance(error, _NOT_ITS_FAULT):
        return Verdict(_PART_RETRY_S, counts=False)
    if not error.retryable or attempt >= MAX_ATTEMPTS:
        return Verdict(None)
    return Verdict(retry_delay_s(attempt))
