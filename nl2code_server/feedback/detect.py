"""Say where the secrets and personal data in a text are. Pure: text in, spans out.

Vendor formats and quoted random strings come from detect-secrets, whose patterns are run over the whole text: its
`scan_line` takes most ordinary lines for secrets, and `scan_file` would need the text on disk. The rules here add
what those miss: passwords in prose, values without quotes, key blocks of several lines, e-mail addresses.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from ipaddress import AddressValueError, IPv4Address
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Span(NamedTuple):
    """A secret at `text[start:end]`. The lower the rank, the surer the kind."""

    start: int
    end: int
    rank: int
    kind: str


def find(text: str) -> list[Span]:
    """Return disjoint spans in order; where rules overlap, their union under the surest kind."""
    if not text:
        return []
    labelled = _labelled_regions(text)
    hits = [*_formats(text), *_addresses(text), *_random(text)]
    hits += [*_assigned(text, labelled), *_told(text, labelled), *_plugins(text, labelled)]
    merged: list[Span] = []
    for hit in sorted(hits):
        if merged and hit.start < merged[-1].end:
            last = merged[-1]
            surest = min(last, hit, key=lambda span: span.rank)
            merged[-1] = Span(last.start, max(last.end, hit.end), surest.rank, surest.kind)
        else:
            merged.append(hit)
    return merged


Regions = list[tuple[int, int]]

_STEMS = re.compile(
    "pass|pw|secret|key|token|cred|salt|signature|cookie|auth|log ?in|curl|mysql|contraseña|密码|口令|密钥|令牌"
)
_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(65, 91)})


def _labelled_regions(text: str) -> Regions:
    """Return the stretches around words that name a secret: a plain search is ten times faster than the patterns."""
    regions: Regions = []
    for match in _STEMS.finditer(text.translate(_LOWER)):  # keeps the offsets, as `lower()` does not
        start = max(text.rfind("\n", 0, match.start()) + 1, match.start() - 400)
        # The line after belongs to it: a value may stand below its name.
        end = min(_line_end(text, _line_end(text, match.end()) + 1), match.end() + 2000)
        if regions and start <= regions[-1][1]:
            regions[-1] = (regions[-1][0], max(end, regions[-1][1]))
        else:
            regions.append((start, end))
    return regions


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _within(regions: Regions, pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    for start, end in regions:
        yield from pattern.finditer(text, start, end)


# --- formats that give themselves away ----------------------------------------------------------------------------

_PEM = r"(?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_GAP = r"[\s\\#\"',*;|>()]{0,80}"
_FREE = r"(?<![A-Za-z0-9])"

_FORMATS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("private-key", rf"-----BEGIN {_PEM}(?:(?!\s=\s)[\w+/=\s\\#\"',:.*-]){{0,9000}}?-----END {_PEM}"),
        # A block whose end was cut off by the edge of the context.
        ("private-key", rf"-----BEGIN {_PEM}(?:{_GAP}[A-Za-z0-9+/=]{{16,}})+"),
        ("aws-key", rf"{_FREE}(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{{16}}(?![A-Za-z0-9])"),
        ("github-token", rf"{_FREE}(?:gh[pousr]_[A-Za-z0-9]{{30,}}|github_pat_\w{{22,}})"),
        (
            "gitlab-token",
            rf"{_FREE}(?:gl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|oas|agent)-|GR1348941)[\w.-]{{20,}}",
        ),
        ("slack-token", rf"{_FREE}xox[abeoprs]-[A-Za-z0-9-]{{10,}}|{_FREE}xapp-\d-[A-Za-z0-9-]{{10,}}"),
        ("slack-token", r"hooks\.slack\.com/(?:services|workflows|triggers)/([\w/-]{16,})"),
        ("stripe-key", rf"{_FREE}(?:[prs]k_(?:live|test)_[A-Za-z0-9]{{16,}}|whsec_[A-Za-z0-9+/]{{24,}}=?=?)"),
        (
            "google-key",
            rf"{_FREE}(?:AIza[\w-]{{30,}}|ya29\.[\w-]{{20,}}|GOCSPX-[\w-]{{20,}}|1//0[\w-]{{30,}})",
        ),
        ("anthropic-key", r"(?<![A-Za-z0-9-])sk-ant-[\w-]{16,}"),
        ("openai-key", r"(?<![A-Za-z0-9-])sk-(?!ant-)(?=[A-Za-z_-]{0,80}\d)[\w-]{20,}"),
        ("hf-token", rf"{_FREE}(?:hf|api_org)_[A-Za-z0-9]{{30,}}"),
        ("npm-token", rf"{_FREE}npm_[A-Za-z0-9]{{30,}}"),
        ("npm-token", r":_(?:authToken|auth|password)\s{0,4}=\s{0,4}[\"']?([\w.+/=-]{8,})"),
        ("pypi-token", rf"{_FREE}pypi-[\w-]{{30,}}"),
        ("sendgrid-key", rf"{_FREE}SG\.[\w-]{{16,}}\.[\w-]{{16,}}"),
        ("telegram-token", r"(?<!\d)\d{8,10}:[\w-]{35}(?![\w-])"),
        ("discord-token", r"discord(?:app)?\.com/api/webhooks/(\d+/[\w-]{20,})"),
        (
            "azure-key",
            r"(?i)\b(?:AccountKey|SharedAccessKey|SharedAccessSignature|sig)=([A-Za-z0-9+/%=&-]{30,})",
        ),
        (
            "api-token",
            rf"{_FREE}(?:shp(?:at|ca|pa|ss)_|do[op]_v1_|dapi|hv[sbr]\.|dckr_pat_|lin_api_|ntn_|glsa_|gsk_|xai-|r8_|"
            r"dp\.[a-z]{2,8}\.|pscale_\w{2,8}_|PMAK-|NRAK-|HRKU-|sq0[a-z]{3}-|rubygems_|key-|AGE-SECRET-KEY-1)"
            r"(?=[A-Za-z_-]{0,40}\d)[\w-]{24,}",
        ),
        ("jwt", rf"{_FREE}eyJ[\w-]{{8,}}\.[\w-]{{8,}}(?:\.[\w-]*)?"),
        ("bearer-token", r"(?i)\bbearer[\s:=\"']{1,4}(?=[a-z._~+/-]{0,200}\d)([\w.~+/-]{8,}=*)"),
        (
            "authorization",
            r"(?i)\bauthorization[\"']?\]?\s{0,4}[:=,]\s{0,4}[\"']?(?:basic|token|apikey|bot)\s{1,4}([\w.~+/-]{8,}=*)",
        ),
    )
)


_PEM_END = re.compile(rf"-----END {_PEM}")
_PEM_PIECE = re.compile(r"[A-Za-z0-9+/=]+")


def _formats(text: str) -> Iterator[Span]:
    for end in _PEM_END.finditer(text):
        # A block whose beginning was cut off: walk back over its lines.
        start = end.start()
        for piece in reversed(list(_PEM_PIECE.finditer(text, max(0, start - 4000), start))):
            last = start == end.start()
            if (len(piece.group()) < 40 and not last) or not re.fullmatch(_GAP, text[piece.end() : start]):
                break
            start = piece.start()
        yield Span(start, end.end(), 0, "private-key")
    for kind, pattern in _FORMATS:
        for match in pattern.finditer(text):
            yield Span(*match.span(pattern.groups), 0, kind)


# --- addresses ----------------------------------------------------------------------------------------------------

# Greedy up to the last `@`: a password may hold one itself.
_URL = re.compile(
    r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/@\"'`<>{}]{0,64}:([^\s\"'`<>{}]{1,256})@(?=[\w\[.-])"
)
_EMAIL = re.compile(
    r"(?<![\w.+%/-])([A-Za-z0-9][\w.+-]{0,63})@((?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,6})(?![\w-]|\.\w|\()"
)
# `a@b.mean` is a product of matrices: only what ends like a domain is an address.
_TOP_LEVEL = _words(
    "com org net edu gov mil int io dev ai co app tech cloud xyz biz info me us uk de fr cn ru jp in eu ch nl se no "
    "fi it es pl br au ca at be cz dk ie kr mx nz pt sg tw tr ua za hk il gr ro hu ar cl online site store email "
    "local intern corp lan"
)
_EXAMPLE_DOMAIN = re.compile(r"(?i)(?:^|\.)(?:example\.(?:com|org|net|edu)|example|test|invalid|localhost)$")
_IP = re.compile(r"(?<![\w.=])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_HOME = re.compile(r"(?i)(?:(?<![\w.])/(?:home|users)/|\b[a-z]:\\{1,2}users\\{1,2})([a-z0-9][\w.-]{1,31})")
_NOBODY = _words(
    "user username users me you name shared public default runner ubuntu root app python someone"
)


def _addresses(text: str) -> Iterator[Span]:
    passwords = [match.span(1) for match in _URL.finditer(text) if not _stands_for_another(match.group(1))]
    for start, end in passwords:
        yield Span(start, end, 1, "password")
    for match in _EMAIL.finditer(text):
        name, domain = match.groups()
        if any(match.start() <= end < match.end() for _, end in passwords):
            continue  # password@host is no address
        known_end = domain.rpartition(".")[2].lower() in _TOP_LEVEL
        if known_end and name != "git" and not _EXAMPLE_DOMAIN.search(domain):
            yield Span(*match.span(), 2, "email")
    for match in _IP.finditer(text):
        if _is_somebodys_host(match.group()) and not re.search(
            r"(?i)\b(?:v|version)\W{0,3}$", text[: match.start()][-12:]
        ):
            yield Span(*match.span(), 2, "ip")
    for match in _HOME.finditer(text):
        if match.group(1).lower() not in _NOBODY:
            yield Span(*match.span(1), 2, "user")


def _is_somebodys_host(address: str) -> bool:
    """Leave out private and documentation ranges, and the likes of 8.8.8.8 that serve as examples."""
    try:
        number = IPv4Address(address)
        return (
            number.is_global and not number.is_multicast and any(len(part) > 1 for part in address.split("."))
        )
    except AddressValueError:
        return False


# --- values with a telling name -----------------------------------------------------------------------------------

_PW = r"pass(?:word|wd|phrase|code)|pwd|(?<![a-z])pw(?![a-z])|contraseña|密码|口令"
_STRONG = (
    r"secret|api[_ -]?key|(?:access|auth|account|service|private|priv|client|encryption|signing|master|db|database)"
    r"[_ -]?key|(?:access|auth|api|bearer|refresh|session|bot|personal|deploy)[_ -]?token|credentials?|密钥|令牌"
)
_LABEL = rf"(?:(?P<password>{_PW})|(?P<secret>{_STRONG})|(?P<weak>token|key|salt|signature|cookie|auth))"
# `password_field` and its like name something other than the password.
_NOT_ITSELF = (
    r"(?![\w-]{0,24}?[_-]?(?:name|field|file|path|dir|ur[li]|header|env|var|label|help|prompt|error|err|msg|message|"
    r"type|len|length|size|pattern|regex|form|hint|input|column|attr|policy|reset|id|ids)(?![a-z]))"
)
_ASSIGN = r"(?P<assign>:\s{0,4}[\w\[\]|. ]{1,40}?=(?!=)|:=|[=-]>|[!=]==?|=|:|,|\bis\b|\bwas\b|为|是|：)"
_QUOTED = re.compile(
    rf"(?i){_LABEL}{_NOT_ITSELF}\w{{0,30}}[\"'`]?\]?\s{{0,4}}{_ASSIGN}\s{{0,4}}\(?[rbfu]{{0,2}}"
    r"(?P<quote>[\"'`])(?P<value>[^\"'`\n]{4,400})(?P=quote)"
)
_COMPARED = re.compile(
    rf"(?i)(?P<quote>[\"'`])(?P<value>[^\"'`\s]{{4,200}})(?P=quote)\s{{0,4}}(?P<assign>[!=]=)\s{{0,4}}"
    rf"[\w.]{{0,40}}?{_LABEL}{_NOT_ITSELF}"
)
_BARE = re.compile(
    rf"(?i){_LABEL}{_NOT_ITSELF}\w{{0,30}}[\"']?\s{{0,4}}(?P<assign>=(?!=)|:(?!:)|[=-]>|：)\s{{0,4}}"
    r"(?P<value>[^\s\"'`<>{}()\[\],;]{6,200})(?![(\[\w])"
)
_FLAG = re.compile(
    r"(?i)(?:--?(?:password|passwd|pass|token|secret|api-?key)[ =]|"
    r"\bmysql\w{0,8}\b[^\n]{0,80}? -p(?=\S)|"
    r"\bcurl\b[^\n]{0,80}? (?:-u|--user) ?[\"']?[\w.@-]{1,64}:)"
    r"[\"']?(?P<value>[^\s\"'`<>{}$]{4,200})"
)


_CALLED = re.compile(
    r"(?i)(?:\bauth\w{0,20}\s{0,4}=\s{0,4}\(|(?:login|basic_?auth)\()\s{0,4}[rbfu]{0,2}[\"'][^\"'\n]{1,80}[\"']\s{0,4},"
    r"\s{0,4}[rbfu]{0,2}(?P<quote>[\"'])(?P<value>[^\"'\s]{4,200})(?P=quote)"
)


def _assigned(text: str, labelled: Regions) -> Iterator[Span]:
    for pattern in (_QUOTED, _COMPARED):
        for match in _within(labelled, pattern, text):
            value = match["value"]
            if match["password"]:
                # `get("password", "...")` has a default, `"getpasswd", "getport"` is a list of names
                telling = _is_password(value) and (match["assign"] != "," or _mixes(value))
            elif match["secret"]:
                telling = " " not in value and len(value) >= 8 and _has_letter_and_digit(value)
            else:
                telling = len(value) >= 16 and _looks_random(value)
            if telling and not _stands_for_another(value):
                yield Span(*match.span("value"), 3 if match["password"] else 4, _kind(match))
    for match in _within(labelled, _BARE, text):
        value = match["value"].rstrip(".:!?")
        if _is_bare_secret(match, value, text) and not _stands_for_another(value):
            start = match.start("value")
            yield Span(start, start + len(value), 5, _kind(match))
    for match in _within(labelled, _CALLED, text):
        if not _stands_for_another(match["value"]):
            yield Span(*match.span("value"), 5, "password")
    for match in _within(labelled, _FLAG, text):
        if _mixes(match["value"]) and not _stands_for_another(match["value"]):
            yield Span(*match.span("value"), 5, "password")


def _kind(match: re.Match[str]) -> str:
    return "password" if match["password"] else "secret"


def _is_password(value: str) -> bool:
    """Tell a password from a prompt or a message, between quotes."""
    if value != value.strip() or value[-1] in ":?.":
        return False
    words = value.split()
    if len(words) == 1:
        return True
    # A pass phrase is a row of plain words; anything else with spaces is a sentence or a format.
    return len(words) >= 4 and all(word.isalpha() and word.islower() for word in words)


def _is_bare_secret(match: re.Match[str], value: str, text: str) -> bool:
    """Tell a value that somebody left without quotes from an expression."""
    line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    if match["password"] and "#" in line and _ends_sentence(text, match, value):
        return True
    if len(value) < 6 or not _mixes(value):
        return False
    if match["weak"]:
        return len(value) >= 16 and _looks_random(value) and not re.search(r"[.=\\][A-Za-z]", value)
    if re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", value):
        # It could be a name: a secret only where no code stands, or where no one would name a thing so.
        if "#" in line or re.search(r"[A-Z]=$", text[: match.start("value")][-2:]):
            return True
        named = "." in value or _CODE_WORD.match(value)
        return (len(value) >= 16 and _looks_random(value)) or (bool(match["password"]) and not named)
    return _has_letter_and_digit(value) or (bool(match["password"]) and len(value) >= 8)


_CODE_WORD = re.compile(
    r"(?i)_|(?:pass|pwd|pw|tok|key|sec|hash|arg|param|str|val|line|data|buf|digest|sha|md|b64|base|input|field|text|user|"
    r"var|tmp|temp|self|cls|item|part|word|utf|bytes|int|float|hex|type|test)[a-z]*\d*$|[a-z]{1,2}\d+$"
)


# --- prose --------------------------------------------------------------------------------------------------------

_SAID = re.compile(
    rf"(?i)(?:(?P<password>{_PW}|\bpass)|(?P<secret>{_STRONG}|\btoken))\s{{1,4}}"
    r"(?:(?P<is>is|was|are|will be|should be|为|是)\s{0,4}:?\s{0,4})?"
    r"(?P<quote>[\"'`]?)(?P<value>[^\s\"'`<>{}()\[\]]{4,128})(?P=quote)"
    r"|(?P<chinese>密码|口令|密钥|令牌)\s{0,2}[为是:：]\s{0,2}(?P<told>[^\s\"'`<>{}()\[\]，。；、]{4,128})"
)
_PAIR = re.compile(
    r"(?i)\b(?:credentials?|creds|log ?in)\b[ \t]{0,3}(?:are|is|with|as|:|=)?[ \t]{0,3}[\w.@-]{1,64}"
    r"\s?[:/]\s?([^\s\"'`,;)]{4,128})"
)
_PREDICATE = re.compile(
    r"(?i)\w+(?:ed|able|ible|ing|ent|ant|ive|ful|ous|al|ly|ory|ary|ic|less|ment|tion|ness)$|(?:not|none|null|true|false|too|"
    r"set|the|this|that|same|only|also|then|here|from|with|what|when|where|which|your|their|hash|salt|text|string|strings|bytes|str|"
    r"wrong|right|correct|incorrect|weak|strong|short|long|longer|shorter|empty|missing|unknown|secret|secure|unset|plain|"
    r"known|given|ok|okay|good|bad|safe|unsafe|used|kept|sent|shown|hidden|more|less|between|either|never|always|still|"
    r"already|just|stale|absent|present|public|private|their|between|because|unique|random|enough|over|under)$"
)


def _told(text: str, labelled: Regions) -> Iterator[Span]:
    for match in _within(labelled, _SAID, text):
        group = "told" if match["chinese"] else "value"
        value = match[group].rstrip(".,;:!?。，")
        if len(value) < 4 or _stands_for_another(value):
            continue
        if match["chinese"] or match["password"]:
            said = bool(match["is"])
            verb = (match["password"] or "").lower() == "pass" and not said  # `pass utf8 on`
            telling = not verb and (_mixes(value) or (said and _ends_sentence(text, match, value)))
        else:
            drawn = len(value) >= 16 and _looks_random(value)
            telling = drawn or (bool(match["is"]) and len(value) >= 8 and _has_letter_and_digit(value))
        if telling and not _ALGORITHM.match(value):
            start = match.start(group)
            yield Span(
                start,
                start + len(value),
                6,
                "password" if match["chinese"] or match["password"] else "secret",
            )
    for match in _within(labelled, _PAIR, text):
        if _mixes(match.group(1)) and not _stands_for_another(match.group(1)):
            yield Span(*match.span(1), 6, "password")


def _ends_sentence(text: str, match: re.Match[str], value: str) -> bool:
    """Take `the password is swordfish.` for a secret, `if the password is required` not."""
    if not value.isalpha() or len(value) < 6 or _PREDICATE.match(value):
        return False
    rest = text[match.start("value") + len(value) :].lstrip("\"'`")
    return not rest.strip(" \t") or rest.lstrip(" \t")[0] in ".,;)\n!"


_ALGORITHM = re.compile(
    r"(?i)(?:sha|md|utf|base|aes|hs|rs|es|ps|argon|pbkdf|bcrypt|scrypt|oauth|x|p|pkcs|int|float|python|py|v|http|tls|ssl|"
    r"iso|rfc|cp|latin|crc|blake)[-_]?\d[\w-]{0,8}$"
)


# --- random strings -----------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"(?<![\w+/.=$%-])[A-Za-z0-9+/_-]{24,512}={0,2}(?![\w+/.(-])")
_BASE64_LINE = re.compile(r"(?m)^[ \t#\"'b(+]{0,40}([A-Za-z0-9+/]{60,76}={0,2})[\\n\"')+, ]{0,8}$")


def _random(text: str) -> Iterator[Span]:
    for match in _TOKEN.finditer(text):
        if _looks_random(match.group(), strict=True):
            yield Span(*match.span(), 9, "random")
    for match in _BASE64_LINE.finditer(text):
        if _entropy(match.group(1)) > 4.7 and _has_letter_and_digit(match.group(1)):
            yield Span(*match.span(1), 9, "random")


_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _looks_random(value: str, *, strict: bool = False) -> bool:
    """Tell drawn characters from words: they change class (capital, small, digit, sign) at every other step."""
    classes = ["u" if c.isupper() else "l" if c.islower() else "d" if c.isdigit() else "s" for c in value]
    counts = Counter(classes)
    if not counts["d"] or not counts["u"] + counts["l"] or counts["s"] > len(value) * 0.2 or " " in value:
        return False
    if re.fullmatch(r"[0-9a-fA-F]{20,}", value):
        return (len(value) >= 32 or not strict) and _entropy(value) > 3.0
    if _UUID.fullmatch(value):
        return not strict
    if max(map(len, re.split(r"[/_.-]", value))) < 14:
        return False  # a path, or words with hyphens
    changes = sum(a != b for a, b in pairwise(classes)) / (len(value) - 1)
    if strict:
        return (
            changes > 0.42
            and counts["d"] >= 2
            and counts["u"] >= 2
            and counts["l"] >= 2
            and _entropy(value) > 3.8
        )
    return changes > 0.3 and _entropy(value) > 3.3


def _entropy(value: str) -> float:
    """Return Shannon's entropy in bits per character."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


# --- detect-secrets -----------------------------------------------------------------------------------------------

# Replaced by rules above that take in less (a password instead of its URL), take in more (the key instead of its
# header), or take less than quadratic time.
_REPLACED = _words(
    "BasicAuthDetector IPPublicDetector JwtTokenDetector KeywordDetector NpmDetector OpenAIDetector "
    "PrivateKeyDetector"
)


@cache
def _plugin_patterns() -> tuple[
    tuple[tuple[str, re.Pattern[str]], ...], tuple[HighEntropyStringsPlugin, ...]
]:
    """Load detect-secrets when it is first needed. Its settings are process-wide, and its verification would use
    the network, so the plugins are made here and only their patterns and measures are used."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector
    from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin

    patterns: list[tuple[str, re.Pattern[str]]] = []
    measures: list[HighEntropyStringsPlugin] = []
    plugins: Iterable[Any] = get_mapping_from_secret_type_to_class().values()
    for plugin in plugins:
        if plugin.__name__ in _REPLACED:
            continue
        if issubclass(plugin, RegexBasedDetector):
            kind = "-".join(plugin.secret_type.lower().split()[:2])
            patterns += ((kind, pattern) for pattern in plugin().denylist)
        elif issubclass(plugin, HighEntropyStringsPlugin):
            measures.append(plugin())
    return tuple(patterns), tuple(measures)


def _plugins(text: str, labelled: Regions) -> Iterator[Span]:
    from detect_secrets.filters.heuristic import is_likely_id_string, is_potential_uuid, is_sequential_string

    patterns, measures = _plugin_patterns()
    for kind, pattern in patterns:
        # The patterns of this form begin with a name, and are slow.
        near = pattern.pattern.startswith(r"(?:(?<=\W)|(?<=^))")
        for match in _within(labelled, pattern, text) if near else pattern.finditer(text):
            # A group is the secret itself, or, where it is short, only the prefix of one.
            groups = [n for n in range(1, pattern.groups + 1) if len(match.group(n) or "") >= 16]
            start, end = match.span(groups[0] if groups else 0)
            if _has_letter_and_digit(text[start:end]):
                yield Span(*_trimmed(text, start, end), 1, kind)
    for measure in measures:
        for match in measure.regex.finditer(text):
            value = match.group(2)
            if len(value) < 20 or measure.calculate_shannon_entropy(value) <= measure.entropy_limit:
                continue
            line = text[text.rfind("\n", 0, match.start()) + 1 : match.end()]
            if is_sequential_string(value) or is_potential_uuid(value) or is_likely_id_string(value, line):
                continue
            if _looks_random(value):
                yield Span(*match.span(2), 8, "random")


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out the delimiters that a plugin's pattern takes along."""
    while start < end and text[start] in " \t\n=:\"'":
        start += 1
    while start < end and text[end - 1] in " \t\n\"'":
        end -= 1
    return start, end


# --- words about a value ------------------------------------------------------------------------------------------

_DUMMY = _words(
    "password passwd pass pwd secret token key none null true false string str text bytes test example required "
    "invalid optional hidden username user email name value basic bearer digest default utf-8 ascii latin-1 sha256 "
    "xxxx your_password your-password yourpassword my_password mypassword"
)


def _stands_for_another(value: str) -> bool:
    """Recognise templates, variables, their names and words for a secret: `{pw}`, `$PASS`, `%s`, `DB_PASSWORD`."""
    bare = value.strip(" \t*.-_#%")
    if not bare or bare.lower() in _DUMMY or len(set(bare)) == 1:
        return True
    if (
        value[0] in "{<$%"
        or "{" in value
        or value.startswith(("%(", "...", "os."))
        or re.search(r"%[\d.]*[sdrf(]", value)
    ):
        return True
    return bool(
        re.fullmatch(r"[A-Z][A-Z_]*_[A-Z_]+|[a-z]+(?:_[a-z]+)*_(?:password|passwd|secret|token|key)", value)
    )


def _mixes(value: str) -> bool:
    """Say whether letters come with digits or with signs that words do not have."""
    return _has_letter_and_digit(value) or (
        any(c.isalpha() for c in value) and any(c in "!@#$%^&*?~+" for c in value.strip("!?*#"))
    )


def _has_letter_and_digit(value: str) -> bool:
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
