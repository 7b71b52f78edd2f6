"""Which words of a passage match a query. Pure, and indifferent to language."""

from __future__ import annotations

import re
from collections import defaultdict

_WORD = re.compile(r"\w+", re.UNICODE)
_MIN_STEM = 4
_SUFFIXES = 3
_MAX_SPANS = 50

_FUNCTION_WORDS = """
a about after all also am an and any are as at be because been before being between both but by can could
did do does doing done during each few for from further get gets had has have having he her here hers him
his how i if in into is it its itself just me more most my no nor not of off on once only or other our out
over own same she should so some such than that the their them then there these they this those through
to too under until up us very was we were what when where which while who whom whose why will with would
you your please tell
aber als am an auch auf aus bei bin bis bist da das dass dem den der des die dies doch du ein eine einem
einen einer eines er es für hat hatte ich ihr im in ist ja kann man mein mich mir mit nach nicht noch nun
nur ob oder ohne sein sich sie sind so über um und uns unter vom von vor war was wenn wer wie wird wir wo
zu zum zur welche welcher welches
al con como cuál de del el ella en es esta este la las lo los más mi no nos o para pero por qué que se si
sin sobre son su sus tu un una y ya cuántos cuánto
au aux avec ce ces dans des du elle est et il ils je la le les leur lui ma mais même mes ne nous ou où par
pas pour qu quel quelle quels sa se ses son sont sur ta te un une vous
"""
"""English, German, Spanish, French."""

STOP_WORDS = frozenset(_FUNCTION_WORDS.split())


def content_words(text: str) -> list[str]:
    """Lower-case words of a text in order, without stop words; numbers count as words."""
    words = (match.group().casefold() for match in _WORD.finditer(text))
    return [word for word in words if word not in STOP_WORDS and (len(word) > 1 or word.isdigit())]


def same_word(one: str, other: str) -> bool:
    """Whether two lower-case words are forms of one: equal, or alike but for a short ending."""
    if one == other:
        return True
    shared = min(len(one), len(other))
    if shared < _MIN_STEM or one.isdigit() or other.isdigit():
        return False
    stem = max(_MIN_STEM, max(len(one), len(other)) - _SUFFIXES)
    return one[:stem] == other[:stem]


def highlight(query: str, text: str) -> tuple[tuple[int, int], ...]:
    """Spans `[start, end)` of words in `text` that are forms of the query's words, at most 50, in order."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for word in content_words(query):
        wanted[word[:_MIN_STEM]].append(word)  # forms of one word begin alike
    spans = []
    for match in _WORD.finditer(text):
        folded = match.group().casefold()
        alike = wanted.get(folded[:_MIN_STEM])
        if alike is not None and any(same_word(folded, word) for word in alike):
            spans.append(match.span())
            if len(spans) == _MAX_SPANS:
                break
    return tuple(spans)
