"""How commands present themselves: examples in their help, and places in documents in one style."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from serving.cli.output import plain


class ExampleCommand(click.Command):
    """A command whose help ends with examples, one a line."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **extra: Any) -> None:
        """Take click's own arguments, and command lines to show."""
        super().__init__(*args, **extra)
        self._examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are; click would join their lines."""
        if not self._examples:
            return
        formatter.write_paragraph()
        formatter.write("Examples:\n" + "".join(f"  {line}\n" for line in self._examples))


def place_of(passage: Mapping[str, Any]) -> str:
    """Where in its document a hit or citation stands: ` › heading › heading, p. 3`."""
    title = passage["title"]
    headings = "".join(f" › {plain(heading)}" for heading in passage["heading_path"] if heading != title)
    return headings + (f", p. {passage['page']}" if passage["page"] is not None else "")
