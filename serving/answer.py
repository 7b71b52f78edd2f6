"""A question, the passages an answer may use, and the answer with its citations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NewType

from retrieval.access import Principal
from retrieval.query import Hit, SearchFilters

Promptable = NewType("Promptable", Hit)
"""A hit that may enter a prompt. Only `serving.admission` makes one, from hits that it has looked at just now."""


class ReasoningEffort(StrEnum):
    """How long the model may think before it answers (gpt-oss, Harmony format)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class AnswerMode(StrEnum):
    """Who writes the answer: the model when there is one, or extracts only."""

    AUTO = "auto"
    EXTRACTIVE = "extractive"


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of the conversation, of its asker: an answer of before is never handed to a model."""

    role: Literal["user"]
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks. `history` holds earlier turns, oldest first."""

    text: str
    principal: Principal
    filters: SearchFilters = SearchFilters()
    history: tuple[Turn, ...] = ()
    effort: ReasoningEffort = ReasoningEffort.LOW
    mode: AnswerMode = AnswerMode.AUTO
    request_id: str = ""
    channel: str = "api"


@dataclass(frozen=True, slots=True)
class Source:
    """One numbered passage of a context. `marker` counts from 1 and appears as `[1]` in answers."""

    marker: int
    hit: Promptable

    @property
    def text(self) -> str:
        """The passage's text, exactly as in its document."""
        return self.hit.passage.text


@dataclass(frozen=True, slots=True)
class Context:
    """The passages that may support an answer, best first, within the token budget."""

    sources: tuple[Source, ...]

    def marker_of(self, hit: Hit) -> int | None:
        """The marker of a hit's passage, None when it is not part of the context."""
        chunk_id = hit.passage.chunk_id
        return next((s.marker for s in self.sources if s.hit.passage.chunk_id == chunk_id), None)

    def source(self, marker: int) -> Source | None:
        """The source with this marker, None when there is none."""
        return self.sources[marker - 1] if 1 <= marker <= len(self.sources) else None


@dataclass(frozen=True, slots=True)
class Window:
    """One sentence, list item or table row of a hit's passage, judged against a question.

    Attributes:
        start: Offset in the passage's text.
        end: Offset after the window.
        meaning: Cosine between question and window with its headings, -1 to 1.
        passage_meaning: Cosine between question and the whole passage, -1 to 1.
        words: Share of the question's weighted words in the window and its headings, 0 to 1.
        passage_words: The same for the whole passage.
    """

    hit: Promptable
    start: int
    end: int
    words: float
    passage_words: float
    meaning: float = 0.0
    passage_meaning: float = 0.0

    @property
    def text(self) -> str:
        """The window's own words."""
        return self.hit.passage.text[self.start : self.end]

    @property
    def score(self) -> float:
        """Higher is better, about -1.5 to 2.5; compares across questions. docs/answers.md has the fit."""
        return self.meaning + 0.5 * (self.passage_meaning + self.words + self.passage_words)


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message for a model."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Everything a generator may use. Extractive ones read `evidence`, models read `messages`.

    Attributes:
        evidence: The context's sentences and rows, best first.
        messages: Stable prefix first (instructions), then sources, the question last.
        max_tokens: Most tokens to write, reasoning included.
        deadline_s: Seconds for the whole generation.
        cache_salt: Separates prefix caches of principals who see different documents; no identity in it.
        on_usage: Told the token counts of each finished attempt, in the thread that iterates and before the
            iterator ends: `prompt_tokens` (of which `cached_tokens`), `completion_tokens` (of which
            `reasoning_tokens`).
    """

    question: str
    context: Context
    messages: tuple[Message, ...]
    effort: ReasoningEffort
    max_tokens: int
    deadline_s: float
    cache_salt: str = ""
    evidence: tuple[Window, ...] = ()
    on_usage: Callable[[Mapping[str, int]], None] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class GeneratorInfo:
    """Which generator wrote an answer."""

    name: str
    revision: str
    generator: Literal["vllm", "extractive"]


@dataclass(frozen=True, slots=True)
class Citation:
    """A marker in the answer and the text it points to.

    Attributes:
        quote: The words of the source that support the sentence, exact.
        start: Offset of the quote in the extracted text of the document's cited version.
        end: Offset after it.
        support: Share of the cited sentence's content that the source bears out, 0 to 1.
    """

    marker: int
    hit: Hit
    quote: str
    start: int
    end: int
    support: float


@dataclass(frozen=True, slots=True)
class Step:
    """One thing the desk did for an answer, with its duration."""

    name: str
    ms: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a question. An honest "not found" is an answer too (`abstained`).

    Attributes:
        text: Sentences with `[n]` markers; only markers in `citations` occur.
        conflicts: Sentences that name where sources disagree.
        references: The hits that were considered, best first.
        fallback_reason: Code of the generator error when extracts stand in for the model, else empty.
        usage: Token counts as the model server told them; empty where it was not asked or told none.
        n_withheld: Passages among the best ones, readable to the asker, that a label kept out of the answer.
    """

    text: str
    citations: tuple[Citation, ...]
    abstained: bool
    references: tuple[Hit, ...]
    generator: GeneratorInfo
    steps: tuple[Step, ...] = ()
    conflicts: tuple[str, ...] = ()
    fallback_reason: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    n_withheld: int = 0


@dataclass(frozen=True, slots=True)
class ReferencesFound:
    """Stream event: the passages the answer will draw on."""

    references: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class TextAdded:
    """Stream event: the next words of the answer, already checked."""

    text: str


@dataclass(frozen=True, slots=True)
class TextWithdrawn:
    """Stream event: what was streamed so far is replaced from here on (the model failed, extracts follow)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Answered:
    """Stream event: the whole answer; the last one."""

    answer: Answer


AnswerEvent = ReferencesFound | TextAdded | TextWithdrawn | Answered
