"""What goes wrong in a command, and which exit code says so."""

from __future__ import annotations

OK, FAILED, USAGE, NOT_FOUND = 0, 1, 2, 3

_EXIT_BY_CODE = {
    "not_found": NOT_FOUND,
    "not_permitted": NOT_FOUND,
    "unauthenticated": NOT_FOUND,
    "unknown_user": NOT_FOUND,
    "invalid_request": USAGE,
    "invalid_query": USAGE,
    "invalid_settings": USAGE,
    "usage": USAGE,
}


class CommandError(Exception):
    """A command cannot do what it was asked; shown as one line `code: message` and a hint.

    Attributes:
        code: Stable identifier, the API's own where the API refused.
        hint: What the reader can do next, one sentence; may be empty.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        """Fail with this code and sentence."""
        super().__init__(message)
        self.code = code
        self.hint = hint

    @property
    def exit_code(self) -> int:
        """1 failed, 2 usage, 3 not found or denied."""
        return exit_code_of(self.code)


def exit_code_of(code: str) -> int:
    """The exit code for a stable error code."""
    return _EXIT_BY_CODE.get(code, FAILED)
