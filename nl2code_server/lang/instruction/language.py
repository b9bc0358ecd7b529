"""Tell whether a text is English. What is not, in whatever language, is weighed by its place and not by its words."""

from __future__ import annotations

import re

from .vocabulary import ENGLISH, SHARED, VERBS

_LINKS = re.compile(r"\S*(?:://|www\.|@)\S*|\b\w+(?:[._]\w+)+\b")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_LETTER = re.compile(r"[^\W\d_]")
_LAST_LATIN = "\u024f"
_QUOTED = re.compile(r"`[^`\n]+`|(?<!\w)'[^'\n]{1,40}'(?!\w)|(?<!\w)\"[^\"\n]{1,40}\"(?!\w)|\b\w+\(.*?\)")
# Identifiers, constants and single letters are the same in every language.
_WORD = re.compile(r"(?<![\w'’])(?:[^\W\d_][^\W\d_A-Z]+)(?![\w(])")
_ENGLISH_ENDING = re.compile(r"(?:ings?|ed|ly|ness|'s|ght|tch|ck|sh|th|wn|ws)$|^(?:wh|wr|sh|th|kn)")
_FUNCTION_WORDS = frozenset(
    ["the", "of", "to", "and", "is", "are", "with", "that", "this", "it", "be", "from", "by"]
)
_SYMBOL = re.compile(r"[|\[\]{}<>=+*/\^~]|::")


def length(text: str) -> int:
    """Return how many words a text has; two characters count as one where words are not spaced."""
    spaced = _CJK.sub(" ", text)
    return len(re.findall(r"\w+", spaced)) + (len(_CJK.findall(text)) + 1) // 2


def foreign(text: str) -> bool:
    """Tell whether a text is prose that is not English, by its letters or because few of its words are."""
    text = _QUOTED.sub(" ", _LINKS.sub(" ", text))
    letters = _LETTER.findall(text)
    other = sum(letter > _LAST_LATIN for letter in letters)
    ideographs = len(_CJK.findall(text))  # each says as much as several letters
    if 2 * (other + 2 * ideographs) > len(letters) + 2 * ideographs:
        return True
    if len(_SYMBOL.findall(text)) > len(text) / 16:
        return False  # a grammar, a formula, a table
    english = strange = names = 0.0
    for count, word in enumerate(_WORD.findall(text)):
        lower = word.lower()
        if lower in SHARED:
            continue
        if _known(lower):
            english += 2 if lower in _FUNCTION_WORDS else 1
        elif not word.isascii():
            strange += 2
        elif word == lower or not count:
            strange += 1
        else:
            names += 0.5  # or nouns in German
    return strange >= 1 and strange + names >= (3 if english else 2) and strange + names > 2 * english


def _known(word: str) -> bool:
    return (
        word in ENGLISH
        or word in VERBS
        or word.removesuffix("s") in ENGLISH
        or word.removesuffix("s") in VERBS
        or (word.isascii() and bool(_ENGLISH_ENDING.search(word)))
    )
