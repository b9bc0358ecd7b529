"""What the wording of a comment says for and against its being a request for code, in any natural language."""

from __future__ import annotations

import re

from .language import foreign, length
from .vocabulary import VERBS

_CHECKS = re.compile(
    r"(?:check|see|test|determine|verify|validate|tell|decide)\s+(?:if|whether)\b", re.IGNORECASE
)
_LEAD = re.compile(
    r"""(?:please|now|then|next|first|finally|also|and|let's|let\ us|just|here|step\s*\d+\s*[:.]?|\d+[.)]|[-*•]
    |(?:can|could|would|will)\ you(?:\ please)?|(?:i|we)\ (?:want|need|would\ like)(?:\ you)?(?:\ to)?
    |help\ me(?:\ to)?|(?!(?:app|multip|rep|supp|on|fami|assemb|po|f|compi)ly\b)[a-z]{3,}ly
    |(?:python|pandas|numpy|django|regex|sql|code|function|method|script)\s*[:：-]
    |(?:(?:in|using|with)\ )?
        (?:python\s?3?|pandas|numpy|django|matplotlib|selenium|flask|sqlalchemy|beautifulsoup))[\s,]+""",
    re.VERBOSE | re.IGNORECASE,
)
# How steps are told. Requests rarely come in steps.
_TELLS = re.compile(r"(?:now|then|next|first|finally|also|and|here|step\s*\d+|\d+[.)])\W", re.IGNORECASE)
_MAKES = re.compile(
    r"""\b(?:write|writing|create|creating|implement|implementing|define|generate|make|build|develop|design|add
    |give\ me|need|want|provide|code|program)\b[^.\n]{0,40}?\b
    (?:functions?|methods?|class(?:es)?|scripts?|programs?|code|loops?
    |regex(?:es)?|regular\ expressions?|decorators?|generators?|helpers?|property|properties|constructor|getters?
    |setters?|dataclass(?:es)?|enum|coroutine|one-liner|snippet|cli|lambda|iterator|context\ manager|parser)\b""",
    re.VERBOSE | re.IGNORECASE,
)
_UNIT = re.compile(
    r"(?:an?\s+)?(?:(?!base|main|abstract|helper|special|sample|dummy|stub|parent)\w+\s+)?"
    r"(?:function|method|class|script|program|decorator|generator|regex|loop)\s+"
    r"(?:\w+\([^()\n]*\)\s+)?(?:to|that|which|for|returning|taking|computing|called|named)\s",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"(?:(?:async\s+)?def\s+)?\w+\((?!\))[^()\n]*\)\s*[:：-]\s*(?:\w+\W+){2}\w")
_QUESTION = re.compile(
    r"(?:\W*(?:in\s+)?python\w*\W+)?(?:how\s+(?:to|do|can|could|would|should)\b|what\s+is\s+the\s+(?:best|easiest|most)\b"
    r"|best\s+way\s+to\b|(?:simple|easy|elegant|fastest|pythonic)\s+way\s+to\b)",
    re.IGNORECASE,
)
_GIVEN = re.compile(r"(?:you\s+are\s+given|given)\b.*\b\w+", re.IGNORECASE | re.DOTALL)
_EXAMPLE = re.compile(
    r">>>|\be\.g\.,?\s*\w+\(|^\s*assert\b|\b\w+\([^()\n]*\)\s*(?:==|->|=>|→|returns?\b|should\b|gives?\b)|例如\s*\w+\(",
    re.MULTILINE,
)
_QUOTED = re.compile(r"`[^`\n]+`|(?<!\w)'[^'\n]{1,40}'(?!\w)|(?<!\w)\"[^\"\n]{1,40}\"(?!\w)")
_THINGS = re.compile(
    r"""\b(?:lists?|strings?|dict(?:s|ionary|ionaries)?|tuples?|arrays?|numbers?|integers?|floats?|sets?|files?|columns?
    |rows?|dataframes?|elements?|values?|keys?|items?|characters?|words?|lines?|matrix|json|csv|url|regex|dates?|sum
    |average|mean|median|primes?|factorial|fibonacci|gcd|lcm|palindromes?|anagrams?|sequences?|images?|digits?|trees?
    |graphs?|path|directory|directories|folder|image|email|emails|user|users|table|object|objects)\b""",
    re.VERBOSE | re.IGNORECASE,
)
_NOTES = re.compile(
    r"""\b(?:XXX|HACK|NOTE|NB|WARNING|BUG|bpo|issue|issues|https?|PEP|RFC|cf|workaround|deprecated|author|docs?|tests?
    |testing|tested|we|we're|we'll|our|us|they|i|i'm|it's|don't|doesn't|didn't|isn't|aren't|wasn't|won't|can't|cannot
    |shouldn't|couldn't|wouldn't|haven't|there's|that's|let's|was|were|been|had|because|since|otherwise|instead|actually
    |already|currently|still|unless|however|though|although|hence|thus|therefore|later|yet|needed|required|above|below
    |always|never|avoid|ensure|sure|here|this|these|those|should|would|might|may|maybe|probably|same|so)\b|\?$|\#\d|[@:](?:param|return|type|rtype)\w*\b
    |\bsee\b|\.\.\.$""",
    re.VERBOSE | re.IGNORECASE,
)
_NOT_OPENING = re.compile(
    r"""^\W*(?:note|nb|xxx|hack|warning|caution|see|cf|e\.g|i\.e|example|examples|usage|default|defaults|optional
    |deprecated|todo|fixme|bug|the|this|these|that|those|it|we|i|they|there|here|if|when|while|for|because|since
    |should|must|may|not|no|only|some|all|any|each|every|test|tests|testing|author|copyright|license)\b""",
    re.VERBOSE | re.IGNORECASE,
)

# Openings of notes, in the languages that are most often met.
_FOREIGN_NOTES = re.compile(
    r"""^\W*(?:注意|注[:：]|注释|说明|備考|参考|参照|版权|作者|日期|这里|这个|这是|此处|以上|以下是|因为|由于|暂时|临时
    |ここで|これは|注記
    |メモ|примечание|внимание|см\.|здесь|это|так\ как|потому|nota|ojo|aquí|esto|este|esta|atención
    |hinweis|achtung|hier|dies|siehe|remarque|voir|ici|ceci|attention)""",
    re.VERBOSE | re.IGNORECASE,
)
_FOREIGN_ASKS = re.compile(
    r"""[写寫请請求]|编写|实现|實現|创建|生成|定义|计算|計算|返回|检查|判断|输出|打印|排序|查找|转换|统计|作成|関数を|ください
    |下さい|せよ|しなさい|함수|작성|구현|하세요|해줘
    |\b(?:напиш|созда|реализ|функци|сделай|верни|вычисл|escrib|crea|implement|funci[oó]n|cómo|écri|crée|fonction
    |schreib|erstell|funktion|escrev|cri[ae]|função|scriv|funzione|napisz|funkcj|yaz|fonksiyon|اكتب|دالة|viết)""",
    re.VERBOSE | re.IGNORECASE,
)


def asks_outright(text: str) -> bool:
    """Tell whether a text asks for code whatever stands below it: it names what to write, or is a strong request."""
    if foreign(text):
        return bool(_FOREIGN_ASKS.search(text)) and _foreign_evidence(text) >= 2
    return names_unit(text) or evidence(text) >= 2


def names_unit(text: str) -> bool:
    """Tell whether a text says what is to be written, or shows what it must do: no description of code does."""
    return bool(_MAKES.match(_opening(text)) or _EXAMPLE.search(text))


def _opening(text: str) -> str:
    opening = text.lstrip()
    while match := _LEAD.match(opening):
        opening = opening[match.end() :]
    return opening


def evidence(text: str) -> float:
    """Weigh the wording: about 2 for a plain request, below 1 for a note or a heading."""
    if foreign(text):
        return _foreign_evidence(text)
    opening = _opening(text)
    score = 0.0
    first = re.match(r"[A-Za-z][A-Za-z-]*", opening)
    word = first[0].lower() if first else ""
    rest = opening[len(word) :]
    words = length(text)
    asked = bool(_QUESTION.match(opening))
    if _MAKES.match(opening):
        score += 2.5
    elif asked:
        score += 2
    elif _CHECKS.match(opening) or _GIVEN.match(opening):
        score += 1.75
    elif _UNIT.match(opening) or _SIGNED.match(opening):
        score += 1.75 if "(" in opening.split("\n")[0] else 1.25
    elif (
        word in VERBS
        and re.match(r"\s+\w|\s*[`'\"(\[]", rest)
        and not re.match(r"\s+(?:is|are|was|of|that)\b", rest)
    ):
        score += 1.75
    elif _gerund(word) and words > 3:
        score += 1.25
    elif _NOT_OPENING.match(text):
        score -= 1
    things = len(_THINGS.findall(text))
    quoted = len(_QUOTED.findall(text))
    if _EXAMPLE.search(text):
        score += 1.5
    score += min(0.25 * things, 0.75) + min(0.6 * quoted, 1.2)
    if not asked:
        score -= 0.6 * min(len(_NOTES.findall(_QUOTED.sub(" ", text))), 4)
    if words < 3:
        score -= 1
    if _TELLS.match(text):
        score -= 0.5
    if text.endswith(":"):
        score -= 0.5  # announces what stands below
    if "\n" in text and not _MAKES.match(opening) and not _EXAMPLE.search(text):
        score -= 0.2 if text.count("\n") == 1 else 0.5
    return score


def describes_result(text: str) -> bool:
    """Tell whether a text says what a function does, as docstrings do: `Return …`, `Computes …`."""
    first = re.match(r"[A-Za-z]+", text)
    word = first[0].lower() if first else ""
    return word in ("return", "returns", "yield", "yields", "raise", "raises") or (
        word.endswith("s") and (word[:-1] in VERBS or word[:-2] in VERBS)
    )


def _gerund(word: str) -> bool:
    if not word.endswith("ing") or word in ("testing", "handling", "processing", "string", "printing"):
        return False
    stem = word[:-3]
    return stem in VERBS or stem + "e" in VERBS or (stem[-2:-1] == stem[-1:] and stem[:-1] in VERBS)


def _foreign_evidence(text: str) -> float:
    if _FOREIGN_NOTES.match(text):
        return -1
    return 2 if length(text) >= (2 if _FOREIGN_ASKS.search(text) else 3) else 0.5
