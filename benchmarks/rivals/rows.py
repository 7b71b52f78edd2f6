"""What is measured: each index with the searches that are made on it, in order of the tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tables.

    Attributes:
        name: Key in results and file names.
        title: As people read it.
        config: What the runner calls this way of searching.
    """

    name: str
    title: str
    config: str


@dataclass(frozen=True, slots=True)
class Setup:
    """One index and what searches it.

    Attributes:
        rival: Names the runner (`run_<rival>`) and the environment; `refdesk` is the project's own.
        config: What the runner calls this way of indexing.
        rows: The first one stands for the index in the table of indexing.
        chunks: How documents are cut, in words.
    """

    rival: str
    config: str
    rows: tuple[Row, ...]
    chunks: str


OURS = "refdesk-hybrid"

SETUPS = (
    Setup(
        "refdesk",
        "hybrid",
        (Row(OURS, "Refdesk", "hybrid"), Row("refdesk-dense", "Refdesk, dense leg alone", "dense")),
        "by heading and sentence, what the model reads",
    ),
    Setup(
        "llamaindex",
        "quick",
        (Row("llamaindex-quick", "LlamaIndex, quick start", "quick"),),
        "1,024 tokens (its default)",
    ),
    Setup(
        "llamaindex",
        "dense",
        (Row("llamaindex-dense", "LlamaIndex, no chunk cut off", "dense"),),
        "254 wordpieces, 20 shared",
    ),
    Setup(
        "llamaindex",
        "hybrid",
        (Row("llamaindex-hybrid", "LlamaIndex, hybrid (RRF)", "hybrid"),),
        "254 wordpieces, 20 shared",
    ),
    Setup(
        "haystack",
        "quick",
        (Row("haystack-quick", "Haystack, quick start", "quick"),),
        "200 words (its default)",
    ),
    Setup(
        "haystack",
        "hybrid",
        (Row("haystack-hybrid", "Haystack, hybrid (RRF)", "hybrid"),),
        "150 words, 20 shared",
    ),
    Setup("txtai", "quick", (Row("txtai-quick", "txtai, quick start", "quick"),), "paragraphs"),
    Setup(
        "txtai",
        "hybrid",
        (Row("txtai-hybrid", "txtai, hybrid", "hybrid"),),
        "sentences to 220 wordpieces",
    ),
    Setup("txtai", "rrf", (Row("txtai-rrf", "txtai, hybrid (RRF)", "rrf"),), "sentences to 220 wordpieces"),
)

RIVALS = ("llamaindex", "haystack", "txtai")


def in_turn(round_number: int, setups: tuple[Setup, ...] = SETUPS) -> tuple[Setup, ...]:
    """The setups in the order of a round, each round beginning one later, so that none is always first.

    >>> [setup.config for setup in in_turn(2, SETUPS[:3])]
    ['quick', 'dense', 'hybrid']
    """
    first = (round_number - 1) % len(setups)
    return setups[first:] + setups[:first]
