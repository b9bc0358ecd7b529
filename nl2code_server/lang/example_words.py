"""How people say, in several languages, that a call has a value: the words between and around examples."""

from __future__ import annotations

import re

_QUOTE_END = r"[`'\"”’」』]{0,3}"
_MODAL = r"(?:(?:should|must|will|would|shall)\s+)"
_ARTICLES = r"""
    (?:(?:the|a|an|der|die|das|den|el|la|los|le|les|o)\s+(?=list|string|value|tuple|dict|set|number|integer|float|int
        |wert|zahl|liste|valor|número|lista|valeur|nombre))?
    (?:(?:list|string|value|tuple|dict|dictionary|set|number|integer|float|int|wert|zahl|liste|valor|número|lista
        |valeur|nombre|значение|число|список|строку)\s+(?=[\[\](){}'"`\d-]))?
    (?:列表|字符串|数字|整数|元组|字典|集合|リスト|文字列)?\s*`{0,3}"""
SAYS = re.compile(
    _QUOTE_END
    + r"""\s*(?:
    ={1,3}>? | -+> | [→⇒⟶] | ＝{1,2}
    | is\s+equal\s+to\b | is\b(?!\s+not\b)
    | (?:equals|gives|yields|produces|outputs|returns|return|evaluates\s+to|results\s+in)\b
    | """
    + _MODAL
    + r"""(?:be(?:\s+equal\s+to)?|return|give|yield|equal|produce|output|evaluate\s+to|result\s+in)\b
    | 的?(?:返回值|结果|值)(?:应该|应当|应)?(?:为|是|等于)
    | (?:应当|应该|应|会|将|要|必须|需要|需)?(?:返回|等于|得到|输出|给出|产生|为|是|得)
    | (?:ist\s+gleich|ist|gibt|ergibt|liefert|(?:soll(?:te)?|muss|müsste))\b
    | (?:devuelve|retorna|da|produce|es\s+igual\s+a|es|(?:debe|debería)\s+(?:devolver|retornar|dar|ser))\b
    | (?:renvoie|retourne|donne|vaut|est\s+égal\s+à|doit\s+(?:renvoyer|retourner|donner|être|valoir))\b
    | (?:devolve|dá|é\s+igual\s+a|deve\s+(?:retornar|devolver|ser|dar))\b
    | (?:возвращает|вернёт|вернет|даёт|дает|равно|равна|равен)\b
    | (?:должн[аоы]?|должен)\s+(?:вернуть|возвращать|быть|дать)\b
    | (?:تعيد|ترجع|يعيد|تساوي|يساوي)\b
    )\s*[:：]?\s*"""
    + _ARTICLES,
    re.VERBOSE,
)
# Where the verb comes last, the value is one only if the verb comes: "は 6 を返す", "가 6 을 반환".
TOPIC = re.compile(
    _QUOTE_END + r"\s*(?:の(?:結果|戻り値|値)?は|は|が|의\s*(?:결과|값)[은는이가]|[은는이가])\s*`{0,3}"
)
VERB = re.compile(
    r"[`」』]{0,3}\s*(?:を(?:返|出力)|に(?:なる|なり|等しい)|と(?:なる|なり|等しい)|である|であり|です|だ(?![ぁ-ん])"
    r"|[을를]?\s*(?:반환|돌려|출력)|이?(?:다|어야|여야|입니다|된다|됩니다)|[이가]\s*(?:된|됩|되어)|와\s*같|과\s*같)"
)
RAISES = re.compile(
    _QUOTE_END
    + r"\s*(?:"
    + _MODAL
    + r"?(?:raises?|throws?)\s+(?:an?\s+)?|(?:应当|应该|应|会|将|要|必须|需要|需)?(?:抛出|引发|触发|报)(?:一个)?"
    r"|(?:lanza|lança|levanta|lève|wirft|löst|вызывает|бросает|выбрасывает|поднимает)\s+(?:(?:un|une|um|uma|ein|eine|einen)\s+)?)"
    r"\s*`{0,3}((?:[a-z_]\w*\.)*[A-Z][A-Za-z0-9_]*)"
    r"|" + _QUOTE_END + r"\s*(?:(?:は|が|[은는이가])\s*`?([A-Z][A-Za-z0-9_]*)`?\s*"
    r"(?:を(?:送出|投げ|発生|上げ|raise)|[을를]?\s*(?:발생|던)))"
)
# Words that begin the rest of the sentence. Any other word after a value means that it was not the whole value.
REST = re.compile(
    r"(?:and|but|because|since|as|while|whereas|which|so|then|using|via|by|with|without|where|instead|also|please"
    r"|e\.g\.|for\s+example|y|e|pero|porque|und|aber|weil|zurück|sein|ergeben|liefern|zurückgeben|et|mais|car|и|а|но)\b",
    re.IGNORECASE,
)

# Where rounding is part of what is asked, a value that is not rounded is wrong.
ROUNDING = re.compile(
    r"round|decimal|precision|digit|四舍五入|小数|精度|四捨五入|redonde|rund|округл|arrond|반올림",
    re.IGNORECASE,
)

INPUT = re.compile(
    r"(?:输入|給定|给定|入力|\b(?:inputs?|eingabe|entrada|entrée)\b|\b(?:вход|ввод)\b)"
    r"\s*(?:是|为|が|は|is\b|of\b)?\s*[:：=]?\s*",
    re.IGNORECASE,
)
OUTPUT = re.compile(
    r"`?\s*[,，、;；]?\s*(?:的?时候?|则|時|なら|then\b|the\b|expected\b|y\b|la\b|\s)*"
    r"(?:->|=>|→|(?:应该|应当|应|则)?(?:输出|返回|得到|结果)|出力|(?:outputs?|returns?|ausgabe|salida|sortie)\b|вывод\b)"
    r"\s*(?:是|为|が|は|(?:should\s+be|is)\b)?\s*[:：=]?\s*`?",
    re.IGNORECASE,
)
