"""The main language of a text, told offline from its script and its commonest words.

`langdetect` was weighed: its answers vary with a seed, it costs 30 ms a document, and on short text it names
an exotic language rather than none. What the desk needs is a filter value that is right or `und`.
"""

from __future__ import annotations

import re
from collections import Counter

UNDETERMINED = "und"

_SAMPLE_CHARACTERS = 20_000
_MIN_STOP_WORDS = 3
_MIN_SHARE = 0.06
_WORD = re.compile(r"[^\W\d_]+")

# Scripts that settle the language, or the most common one by far; the first with a third of the letters wins.
_SCRIPTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7a3\u1100-\u11ff]")),
    ("zh", re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("bn", re.compile(r"[\u0980-\u09ff]")),
    ("ta", re.compile(r"[\u0b80-\u0bff]")),
    ("te", re.compile(r"[\u0c00-\u0c7f]")),
    ("ka", re.compile(r"[\u10a0-\u10ff]")),
    ("hy", re.compile(r"[\u0530-\u058f]")),
)
# Kana is what tells Japanese from Chinese: a few per cent of it beside Han characters are enough.
_MIN_KANA_SHARE = 0.05
_MIN_SCRIPT_SHARE = 0.33

_STOP_WORDS: dict[str, frozenset[str]] = {
    code: frozenset(words.split())
    for code, words in {
        "en": "the of and to in is that for it was on are as with "
        "be by at this have from or not you an which will your we",
        "de": "der die und das ist nicht ein eine zu den mit von "
        "auf für sich im dem des auch wird werden sind oder bei einer",
        "fr": "le la les des et est une du en que pour dans qui "
        "sur pas au par avec sont ce il plus ne aux vous cette",
        "es": "el la los de que y en las del se por con para "
        "una un es como más pero sus este al lo su está son",
        "it": "il di che e la per un del non è una con "
        "sono della le dei nel più anche gli alla si come da questo",
        "pt": "o de que e do da em um para com não uma os "
        "no se na por mais as dos como mas ao das pelo são você",
        "nl": "de het een van en is dat op te in voor niet "
        "met zijn aan er ook als bij worden naar deze door kan u",
        "sv": "och att det i en på är som för av med till den har inte om ett var kan från eller vi ska de",
        "da": "og at det i en på er som for af med til den "
        "har ikke om et var kan fra eller vi skal de hun blev",
        "no": "og at det i en på er som for av med til den "
        "har ikke om et var kan fra eller vi skal de jeg ble",
        "fi": "ja on ei se että oli hän mutta ovat kun niin "
        "myös tai jos kuin ole joka sen voi mukaan sekä tämä",
        "pl": "i w nie na się z do to jest że jak o od po co za przez dla są oraz tym może lub być ich",
        "cs": "a v se na je že s z do o to i za jako pro ale by po jsou nebo jeho jsem byl při které",
        "sk": "a v sa na je že s z do o to aj za ako pre ale by po sú alebo jeho som bol pri ktoré",
        "hu": "a az és hogy nem is egy ez van csak meg már de ha mint el vagy volt kell még azt lehet",
        "ro": "și de la în a cu pe nu este care un o din pentru mai se că sau ce au fost sunt prin",
        "tr": "ve bir bu için ile de da çok olarak daha olan gibi ne kadar sonra var ancak veya değil ise",
        "id": "yang dan di itu dengan untuk tidak dari dalam akan "
        "pada ini juga ke karena ada oleh saya bisa atau",
        "vi": "và của là có không được các cho trong một với những này người đã để khi từ đến cũng",
        "ca": "el la de que i en els les per amb del una un és al com més però no són aquest dels",
        "ru": "и в не на что с он как по это но из за то от для или его все так же был при",
        "uk": "і в не на що з як та це до за але від для або його її у є бути при про",
        "bg": "и на да се в за от не е са че по с със като но има или това към при",
        "sr": "и у је да се на за од са не што као су или али који по из до",
        "ar": "في من على إلى أن هذا التي الذي عن مع ما لا كان هذه أو كل قد بين بعد",
        "fa": "و در به از که این را با است برای آن یک خود تا بر هم نیز شده می",
        "ur": "کے میں کی ہے سے اور کو کا نے پر یہ ہیں کہ بھی اس نہیں تھا ایک",
    }.items()
}  # fmt: skip


def detect_language(text: str) -> str:
    """The ISO 639-1 code of the language most of `text` is in, `und` when unsure. Same text, same answer."""
    sample = _sample(text)
    letters = sum(1 for character in sample if character.isalpha())
    if letters < 12:
        return UNDETERMINED
    for code, script in _SCRIPTS:
        share = len(script.findall(sample)) / letters
        if share >= (_MIN_KANA_SHARE if code == "ja" else _MIN_SCRIPT_SHARE):
            return code
    return _by_stop_words(sample)


def _sample(text: str) -> str:
    """The beginning and the middle: a cover page or a licence in English shall not decide alone."""
    if len(text) <= _SAMPLE_CHARACTERS:
        return text
    half = _SAMPLE_CHARACTERS // 2
    middle = len(text) // 2
    return text[:half] + " " + text[middle : middle + half]


def _by_stop_words(sample: str) -> str:
    counts = Counter(_WORD.findall(sample.lower()))
    total = sum(counts.values())
    scores = sorted(
        ((sum(counts[word] for word in words), code) for code, words in _STOP_WORDS.items()),
        key=lambda score: (-score[0], score[1]),
    )
    (best, code), (second, _) = scores[0], scores[1]
    n_distinct = sum(1 for word in _STOP_WORDS[code] if word in counts)
    is_clear = n_distinct >= _MIN_STOP_WORDS and best >= _MIN_SHARE * total and best > 1.08 * second
    return code if is_clear else UNDETERMINED
