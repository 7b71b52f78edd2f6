"""Keeps the Harmony format (gpt-oss's channels and control tokens) out of answers. No I/O.

A server that trips over the format shows parts of it as content: `<|channel|>analysis`, or, where it drops
control tokens while decoding, `analysisWe need … assistantfinal`. What stands around is often reasoning.
"""

from __future__ import annotations

import re

from serving.errors import MalformedGenerationError

_LEAK = re.compile(r"<\|(?!(?:end|return|endoftext)\|>)\w{1,40}\|>|assistant(?:analysis|commentary|final)")
_BARE_HEADER = re.compile(r"\s*analysis[A-Z]")
_ENDING = re.compile(r"(?:<\|(?:end|return|endoftext)\|>\s*)+")
_TOKEN_START = re.compile(r"<(?:\|(?:\w{1,40}\|?)?)?\Z")
_LEAKED_WORDS = ("assistantanalysis", "assistantcommentary", "assistantfinal")
_LONGEST_WORD = max(map(len, _LEAKED_WORDS))


class HarmonyGuard:
    """Lets the text of one answer through and no markup, wherever the pieces are cut.

    End tokens after the text are dropped. Any other control token, or text after an end token, means that
    channels were mixed up, so the generation fails. Text that may turn out to be markup is held back.
    """

    def __init__(self) -> None:
        self._held = ""
        self.has_text = False
        """Whether anything but blanks was let through."""

    def feed(self, piece: str) -> str:
        """The text that is safe to show now, possibly empty.

        Raises:
            MalformedGenerationError: There is markup in it.
        """
        text = self._held + piece
        if _LEAK.search(text) or (not self.has_text and _BARE_HEADER.match(text)):
            raise MalformedGenerationError("the answer contains control markup")
        ending = _ENDING.search(text)
        if ending is not None and text[ending.end() :] and not _TOKEN_START.match(text, ending.end()):
            raise MalformedGenerationError("the answer goes on after its end")
        return self._let_through(text, self._safe_length(text) if ending is None else ending.start())

    def finish(self) -> str:
        """The last of the text, when no more pieces will come.

        Raises:
            MalformedGenerationError: The text stops inside a control token.
        """
        rest = _ENDING.sub("", self._held)
        if "<|" in rest:
            raise MalformedGenerationError("the answer stops inside a control token")
        if not self.has_text and rest.strip() in {"", "analysis"}:
            rest = ""
        return self._let_through(rest, len(rest))

    def _let_through(self, text: str, length: int) -> str:
        self._held = text[length:]
        self.has_text = self.has_text or bool(text[:length].strip())
        return text[:length]

    def _safe_length(self, text: str) -> int:
        """How much of the text cannot become markup, whatever follows."""
        if not self.has_text and "analysis".startswith(text.lstrip()):
            return 0
        if token := _TOKEN_START.search(text):
            return token.start()
        tails = range(max(0, len(text) - _LONGEST_WORD), len(text))
        words = (cut for cut in tails if any(word.startswith(text[cut:]) for word in _LEAKED_WORDS))
        return next(words, len(text))
