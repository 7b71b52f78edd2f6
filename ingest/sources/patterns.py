"""Which paths of a source are wanted: globs that hold `include` and `exclude` options."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PathPatterns:
    """Wanted paths. `*` stays within a folder, `**` does not, `?` is one character.

    Attributes:
        include: A path has to match one of these; none means every path.
        exclude: A path that matches one of these is left out.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def want(self, path: str) -> bool:
        """Whether a path, with "/" and without a leading one, is wanted."""
        if self.include and not any(_expression(glob).fullmatch(path) for glob in self.include):
            return False
        return not any(_expression(glob).fullmatch(path) for glob in self.exclude)


@functools.lru_cache(maxsize=256)
def _expression(glob: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob.lstrip("/"))
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meanings.get(part, re.escape(part)) for part in parts), re.DOTALL)
