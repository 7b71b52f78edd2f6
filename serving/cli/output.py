"""What commands print: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Advance = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much; 0 of 0 means not known."""


def print_json(value: Any) -> None:
    """Print a value as one JSON document."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    """Print rows under their columns, or a sentence when there are none.

    Where standard output is no terminal nothing is cut: one row a line, cells between tabs.
    """
    if not rows:
        print(empty)
        return
    if not sys.stdout.isatty():
        print("\n".join("\t".join(_cell(cell) for cell in row) for row in (columns, *rows)))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    _console(error=False).print(table)


def say(sentence: str) -> None:
    """Tell the person at the terminal something that is no data."""
    print(sentence, file=sys.stderr, flush=True)


def plain(text: str) -> str:
    """Text of documents without control characters, which a terminal would obey."""
    return "".join(c for c in text if c in "\n\t" or (c.isprintable() and c not in "\u202e\u202d"))


@contextmanager
def progress_bar() -> Iterator[Advance]:
    """A progress bar on standard error while the block runs; silent where that is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_console(error=True), disable=not sys.stderr.isatty()) as bar:
        yield _Advancing(bar)


class _Advancing:
    """One bar for each thing that is done, in order of appearance."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, Any] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=total or None)
        self._bar.update(self._tasks[name], completed=max(done, 0), total=total or None)


def _console(*, error: bool) -> Console:
    from rich.console import Console

    return Console(stderr=error, highlight=False)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return plain(str(value)).replace("\n", " ").replace("\t", " ")
