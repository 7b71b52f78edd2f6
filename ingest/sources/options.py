"""Reads the options of a source; what cannot be understood is an error that names the option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ingest.errors import InvalidSourceError


def text(options: Mapping[str, Any], name: str, default: str = "") -> str:
    """A text option.

    Raises:
        InvalidSourceError: It is something else.
    """
    value = options.get(name, default)
    if not isinstance(value, str):
        raise InvalidSourceError(f"the option {name} must be a text")
    return value


def choice(options: Mapping[str, Any], name: str, choices: Sequence[str]) -> str:
    """One of a few words, the first when the option is absent.

    Raises:
        InvalidSourceError: It is none of them.
    """
    value = text(options, name, choices[0])
    if value not in choices:
        raise InvalidSourceError(f"the option {name} must be one of {', '.join(choices)}")
    return value


def strings(options: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts, empty when the option is absent.

    Raises:
        InvalidSourceError: It is something else.
    """
    value = options.get(name, [])
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidSourceError(f"the option {name} must be a list of texts")
    return tuple(value)


def check_names(options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse options that no connector of this kind reads: a misspelt limit must not pass in silence.

    Raises:
        InvalidSourceError: There is one.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InvalidSourceError(f"unknown option {unknown[0]}; known are {', '.join(sorted(known))}")
