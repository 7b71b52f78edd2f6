"""What a model may use up in a day: asked before it is called, settled afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from retrieval.access import UserId
from serving.answer import GenerationRequest, Message
from serving.context import estimate_tokens, tokens_of_length
from serving.errors import TokenBudgetError
from serving.ports import TokenUse

_TOKENS_PER_MESSAGE = 8
"""What a chat format adds around a message, rather too many than too few."""


@dataclass(slots=True)
class Usage:
    """Token counts of one answer, as the model server tells them for each attempt."""

    counts: dict[str, int] = field(default_factory=dict)
    n_chars: int = 0

    def add(self, counts: Mapping[str, int]) -> None:
        """Add the counts of an attempt."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    def tokens(self, *, prompt: int) -> int:
        """Tokens used. A generation that broke off tells no counts; then the estimate stands for them."""
        if not self.counts:
            return prompt + (tokens_of_length(self.n_chars) if self.n_chars else 0)
        return read_and_written(self.counts)


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """Bounds on tokens in a day (UTC); None for no bound.

    Attributes:
        per_user: Of one user.
        total: Of all together.
    """

    per_user: int | None = None
    total: int | None = None

    @property
    def is_bound(self) -> bool:
        """Whether there is any bound."""
        return self.per_user is not None or self.total is not None


class Spending:
    """Keeps generations within a budget."""

    def __init__(self, budget: TokenBudget, use: TokenUse) -> None:
        """Count in `use`; without bounds nothing is counted."""
        self._budget = budget
        self._use = use

    @contextmanager
    def spending(self, user: UserId, request: GenerationRequest) -> Iterator[tuple[GenerationRequest, Usage]]:
        """Reserve what the request may cost, and count what it did cost once the block ends.

        Yields:
            The request to send, and its usage as far as it is known.

        Raises:
            TokenBudgetError: The day's tokens are used up; the model must not be asked.
            CatalogueUnavailableError: What was used today cannot be looked up.
        """
        usage = Usage()
        counted = replace(request, on_usage=usage.add)
        if not self._budget.is_bound:
            yield counted, usage
            return
        prompt = prompt_tokens(request.messages)
        reserved = prompt + request.max_tokens
        day = self._use.reserve(user, reserved, per_user=self._budget.per_user, total=self._budget.total)
        if day is None:
            raise TokenBudgetError("the tokens of this day are used up")
        try:
            yield counted, usage
        finally:
            self._use.settle(user, day, reserved=reserved, used=usage.tokens(prompt=prompt))


def read_and_written(counts: Mapping[str, int]) -> int:
    """Tokens that a model read and wrote, by its server's counts."""
    return counts.get("prompt_tokens", 0) + counts.get("completion_tokens", 0)


def prompt_tokens(messages: tuple[Message, ...]) -> int:
    """About how many tokens a prompt has; rather too many than too few."""
    return sum(estimate_tokens(message.content) + _TOKENS_PER_MESSAGE for message in messages)
