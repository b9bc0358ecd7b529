"""How an instruction says that its code begins: the function or class that it names, a test that it asks for."""

from __future__ import annotations

import re

_FUNCTION = (
    r"functions?|func|methods?|procedure|routine|view|handler|helper|coroutine|generator|def"
    r"|funci[oó]n|m[eé]todo|fun[cç][aã]o|fonction|m[eé]thode|Funktion|Methode|функци\w*|метод\w*"
    r"|函数|方法|関数|メソッド|함수|메서드|دالة"
)
_CALLED = (
    r"(?:(?:called|named|llamad[oa]|chamad[oa]|appelée?|namens|genannt|с именем|名为|叫做?|という名前の)\s*)"
)
_NAME = r"`?(?P<name>[A-Za-z_]\w*)`?"

# `name(a, b): …` at the start; `a function name(a, b)`; `函数 name，`; `a function called name`.
_HEAD = re.compile(rf"\A\s*{_NAME}\([^()]*\)\s*[:：]")
_WITH_BRACKET = re.compile(rf"(?:{_FUNCTION})\s*{_CALLED}?{_NAME}\((?![)\s]*[).,;]?\s*\Z)", re.IGNORECASE)
_WITH_WORD = re.compile(rf"(?:{_FUNCTION})\s*{_CALLED}{_NAME}", re.IGNORECASE)
_WITH_UNDERSCORE = re.compile(
    rf"(?:{_FUNCTION})\s*`?(?P<name>[a-z]\w*_\w*)`?(?![\w.])|(?:函数|方法|関数|メソッド)\s*`?(?P<bare>[A-Za-z_]\w*)",
    re.IGNORECASE,
)
_CLASS = re.compile(
    rf"(?:\bclass|\bclase|\bclasse|\bKlasse|класс\w*|类|クラス|클래스)\s*{_CALLED}?`?(?P<name>[A-Z]\w*[a-z]\w*)`?"
)
_SAYS_FUNCTION = re.compile(r"\bfun[ckç]|функци|函数|関数|함수|دالة", re.IGNORECASE)
_SAYS_CLASS = re.compile(r"\b[ck]lass|\bclase|класс|类|クラス|클래스", re.IGNORECASE)
_TEST = re.compile(
    r"\b(?:unit\s*)?tests?\s+(?:function|case)|\b(?:write|add)\s+(?:a\s+)?(?:unit\s*)?tests?\s+(?:for|that|of)\b"
    r"|测试函数|单元测试|テスト関数|тестов\w+\s+функци\w+|función\s+de\s+prueba|fonction\s+de\s+test|Testfunktion",
    re.IGNORECASE,
)


def defining(name: str, instruction: str) -> str:
    """Return the first words of the definition of a name: a capital stands for a class, unless a function is said."""
    function = not name[0].isupper() or (
        _SAYS_FUNCTION.search(instruction) and not _SAYS_CLASS.search(instruction)
    )
    return f"def {name}" if function else f"class {name}"


def opening(instruction: str) -> str:
    """Return the first words of the definition that an instruction asks for, as far as it says them.

    `def gcd`, `class Alarm`, or `def test` where a test is asked for; empty if it leaves the name to the writer.
    """
    if head := _HEAD.search(instruction):
        return f"def {head['name']}"
    if _TEST.search(instruction):
        return "def test"
    if named := _CLASS.search(instruction):
        return f"class {named['name']}"
    for pattern in (_WITH_BRACKET, _WITH_WORD, _WITH_UNDERSCORE):
        if found := pattern.search(instruction):
            return (
                f"def {found['name'] or found['bare']}"
                if pattern is _WITH_UNDERSCORE
                else f"def {found['name']}"
            )
    return ""
