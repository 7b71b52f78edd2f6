"""Documents and questions made up by a seed: any number of them, no two alike. Pure.

Words come from the sample handbook, drawn by Zipf's law as in real text; each document has a topic, words that it
uses far more than others do, and each section names identifiers, dates and amounts of its own. A section becomes
one chunk, so the number of chunks is known beforehand. `sample_corpus` alone reads files.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_TEXT = Path(__file__).parent.parent.parent / "sample" / "text"

SECTIONS = 10
"""Sections of a document, and so its chunks."""

_WORDS = (80, 125)
_TOPIC_WORDS = 40
_TOPIC_SHARE = 0.35


@dataclass(frozen=True, slots=True)
class MadeCorpus:
    """Makes documents and questions by number.

    Attributes:
        vocabulary: Words, the most frequent one first.
        seed: Another seed gives another corpus.
    """

    vocabulary: Sequence[str]
    seed: int = 1

    def document(self, number: int) -> str:
        """Markdown of a document: a title and `SECTIONS` sections, each with a heading."""
        draws = random.Random(f"{self.seed}/document/{number}")  # made-up text, no secret
        topic = self._topic(number)
        title = f"# {topic[0].title()} {topic[1]} {number}"
        return "\n\n".join((title, *(self._section(draws, topic, number, each) for each in range(SECTIONS))))

    def question(self, number: int, n_documents: int) -> str:
        """A question about one of the first `n_documents` documents; every fourth one names an identifier."""
        draws = random.Random(f"{self.seed}/question/{number}")
        about = draws.randrange(n_documents)
        words = draws.sample(self._topic(about), draws.randint(3, 6))
        if number % 4 == 0:
            words.append(_identifier(about, draws.randrange(SECTIONS)))
        return f"What about {' '.join(words)}?"

    def _topic(self, number: int) -> list[str]:
        draws = random.Random(f"{self.seed}/topic/{number}")
        return draws.sample(list(self.vocabulary), min(_TOPIC_WORDS, len(self.vocabulary)))

    def _section(self, draws: random.Random, topic: Sequence[str], number: int, section: int) -> str:
        words = [
            draws.choice(topic) if draws.random() < _TOPIC_SHARE else self._common(draws)
            for _ in range(draws.randint(*_WORDS))
        ]
        facts = (
            f"Reference {_identifier(number, section)}, {draws.randint(1, 28)}.{draws.randint(1, 12)}."
            f"{draws.randint(2015, 2026)}, {draws.randint(10, 99_999)} euros."
        )
        sentences = [
            " ".join(words[start : start + 14]).capitalize() + "." for start in range(0, len(words), 14)
        ]
        return f"## {topic[section + 2].title()} {section + 1}\n\n{facts} {' '.join(sentences)}"

    def _common(self, draws: random.Random) -> str:
        """A word by Zipf's law: the rank is an exponential of a uniform draw."""
        rank = int(len(self.vocabulary) ** draws.random()) - 1
        return self.vocabulary[rank]


def sample_corpus(seed: int = 1) -> MadeCorpus:
    """Made of the words of the sample handbook."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(_SAMPLE_TEXT.rglob("*.md")))
    return MadeCorpus(vocabulary_of(texts), seed)


def vocabulary_of(texts: Iterable[str]) -> list[str]:
    """Lower-case words of three letters and more, by falling frequency, then by alphabet."""
    counted = Counter(word for text in texts for word in re.findall(r"[^\W\d_]{3,}", text.lower()))
    return sorted(counted, key=lambda word: (-counted[word], word))


def _identifier(number: int, section: int) -> str:
    return f"TN-{number:06d}-{section}"
