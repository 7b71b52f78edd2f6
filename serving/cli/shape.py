"""How commands present themselves: examples in their help, and places in documents in one style."""

from __future__ import annotations

import re
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


wait_option = click.option(
    "--wait/--no-wait", default=True, help="Wait until the documents are done (the default), or not."
)


class Duration(click.ParamType[int]):
    """A time span in seconds, written as `90s`, `15m`, `6h` or `2d`; `off` is 0."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        if isinstance(value, int):
            return value
        if value == "off":
            return 0
        found = re.fullmatch(r"(\d{1,9})([smhd])", str(value))
        if found is None:
            self.fail("write a duration as 90s, 15m, 6h or 2d, or off", param, ctx)
        return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]]


def span(seconds: float | None) -> str:
    """A time span in the largest unit that says enough: `4 min`; empty for None."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def place_of(passage: Mapping[str, Any]) -> str:
    """Where in its document a hit or citation stands: ` › heading › heading, p. 3`."""
    title = passage["title"]
    headings = "".join(f" › {plain(heading)}" for heading in passage["heading_path"] if heading != title)
    return headings + (f", p. {passage['page']}" if passage["page"] is not None else "")
