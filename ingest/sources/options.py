"""The options of a source, read once and checked: an unknown name is an error, never ignored."""

from __future__ import annotations

from collections.abc import Collection

from ingest.errors import InvalidSourceError
from retrieval.corpus import Source


class SourceOptions:
    """Typed reading of `Source.options`."""

    def __init__(self, source: Source, known: Collection[str]) -> None:
        """Take the options of `source`.

        Args:
            known: Every name that the connector reads.

        Raises:
            InvalidSourceError: The source has an option of another name.
        """
        unknown = sorted(set(source.options) - set(known))
        if unknown:
            raise InvalidSourceError(
                f"a {source.kind} source has no option {unknown[0]}; it has {', '.join(sorted(known))}"
            )
        self._options = source.options

    def text(self, name: str, default: str = "") -> str:
        """A text option."""
        value = self._options.get(name, default)
        if not isinstance(value, str):
            raise InvalidSourceError(f"the option {name} has to be a text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, empty by default."""
        value = self._options.get(name, ())
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise InvalidSourceError(f"the option {name} has to be a list of texts")
        return tuple(value)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A yes or no."""
        value = self._options.get(name, default)
        if not isinstance(value, bool):
            raise InvalidSourceError(f"the option {name} has to be true or false")
        return value

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        """A number between two bounds, both included."""
        value = self._options.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise InvalidSourceError(f"the option {name} has to be a number from {low:g} to {high:g}")
        return value

    def choice(self, name: str, default: str, allowed: Collection[str]) -> str:
        """One of a few words."""
        value = self.text(name, default)
        if value not in allowed:
            raise InvalidSourceError(f"the option {name} has to be one of {', '.join(sorted(allowed))}")
        return value
