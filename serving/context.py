"""Hits -> context: repeats dropped, in a stable order, within the token budget. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from serving.answer import Context, Promptable, Source

_CHARS_PER_TOKEN = 3.5
"""A low estimate for gpt-oss's tokenizer on mixed European text, so that the budget holds."""

_PREFIX_TOKENS = 40
"""Marker, title, headings and date before each passage."""


def assemble(hits: Sequence[Promptable], *, budget_tokens: int, max_sources: int) -> Context:
    """The passages to answer from: best first, no text twice, within the budget.

    Near-duplicates are told by equal text after white space is folded; of two, the better hit stays. A
    passage that does not fit is left out, smaller ones after it may still come in.
    """
    chosen: list[Promptable] = []
    seen: set[str] = set()
    left = budget_tokens
    for hit in hits:
        folded = " ".join(hit.passage.text.split()).casefold()
        cost = estimate_tokens(hit.passage.context + hit.passage.text) + _PREFIX_TOKENS
        if folded in seen or cost > left:
            continue
        seen.add(folded)
        chosen.append(hit)
        left -= cost
        if len(chosen) == max_sources:
            break
    return Context(tuple(Source(marker, hit) for marker, hit in enumerate(chosen, start=1)))


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has; rather too many than too few."""
    return tokens_of_length(len(text))


def tokens_of_length(n_chars: int) -> int:
    """The same for a text of so many characters."""
    return int(n_chars / _CHARS_PER_TOKEN) + 1
