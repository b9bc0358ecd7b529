"""Take secrets out of text: before the first write to disk, and before text leaves for another machine. No I/O.

What is found becomes a typed placeholder, `<SECRET:github-token>`; the same secret gets the same placeholder
throughout a record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from .detect import Span, find
from .events import CandidateRow, EventRow, RequestRow

Row = TypeVar("Row", bound=RequestRow | CandidateRow | EventRow)


@dataclass(frozen=True, slots=True)
class Finding:
    """One secret, and what stands in its place. The secret is kept out of `repr`, and so out of logs."""

    kind: str
    placeholder: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Redacted:
    """Text without its secrets."""

    text: str
    findings: tuple[Finding, ...]


def redact(text: str, known: dict[str, str] | None = None) -> Redacted:
    """Replace the secrets in `text`. `known` (secret -> placeholder) carries what the record's other texts held."""
    known = {} if known is None else known
    spans = _secrets(text, known)
    clean, used = _replace(text, spans, known)
    return Redacted(clean, tuple(used.values()))


def redact_all(value: Any, known: dict[str, str] | None = None) -> Any:
    """Redact every string in nested lists, tuples and dictionaries as one record."""
    known = {} if known is None else known
    # All secrets are named first: one that is recognised in one place only is still removed from every other.
    spans = {text: _secrets(text, known) for text in texts_in(value)}
    return map_texts(value, lambda text: _replace(text, spans[text], known)[0])


_VERBATIM = {
    *("request_id", "candidate_id", "suggestion_id", "session_id", "file_id", "project_id"),
    *("prompt_hash", "template_hash", "event", "source", "status", "origin", "checkpoint"),
    *("kind", "surface", "trigger", "language", "outcome"),
}


def redact_row(row: Row, known: dict[str, str] | None = None) -> Row:
    """Redact a row's text; ids, hashes and fixed words stay as they are."""
    texts = {f.name: getattr(row, f.name) for f in fields(row) if f.name not in _VERBATIM}
    return replace(row, **redact_all(texts, known))


def strip_code(row: Row) -> Row:
    """Empty every field that can hold code, for the level `no-code`; sizes stand in where there is room."""
    if isinstance(row, RequestRow):
        sizes = {
            "instruction_chars": len(row.instruction),
            "prompt_chars": sum(len(message.get("content", "")) for message in row.messages),
        }
        return replace(row, instruction="", messages=[], reason="", context=_measures(row.context) | sizes)
    if isinstance(row, CandidateRow):
        verdicts = [_measures(verdict) for verdict in row.verdicts]
        return replace(row, raw="", text="", examples=[], verdicts=verdicts)
    data = _measures(row.data)
    if row.final_text is not None:
        data["final_chars"] = len(row.final_text)
    return replace(row, final_text=None, cause=row.cause if _is_word(row.cause) else "", data=data)


def _measures(value: dict[str, Any]) -> dict[str, Any]:
    """Keep numbers and the names of kinds."""
    return {
        key: _measures(item) if isinstance(item, dict) else item
        for key, item in value.items()
        if _is_word(key)
        and key != "detail"
        and (item is None or isinstance(item, (int, float, dict)) or _is_word(item))
    }


def _is_word(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w.-]{0,32}", value) is not None


_PLACEHOLDER = re.compile(r"<SECRET:[a-z0-9-]+>")


def _secrets(text: str, known: dict[str, str]) -> list[Span]:
    """Find the secrets of one text and give each a placeholder."""
    taken = [match.span() for match in _PLACEHOLDER.finditer(text)]
    spans = [
        span for span in find(text) if not any(span.start < end and start < span.end for start, end in taken)
    ]
    for span in spans:
        secret = text[span.start : span.end]
        if secret in known:
            continue
        known[secret] = _placeholder(span.kind, known)
        if span.kind == "private-key":
            # Its lines are secrets too, wherever a part of it is quoted.
            known.update((line, known[secret]) for line in re.findall(r"[A-Za-z0-9+/=]{24,}", secret))
    return spans


def _placeholder(kind: str, known: dict[str, str]) -> str:
    number = 1 + len({name for name in known.values() if re.fullmatch(rf"<SECRET:{kind}(?:-\d+)?>", name)})
    return f"<SECRET:{kind}>" if number == 1 else f"<SECRET:{kind}-{number}>"


def _replace(text: str, spans: list[Span], known: dict[str, str]) -> tuple[str, dict[str, Finding]]:
    """Put placeholders where `spans` are, and wherever else a known secret stands."""
    used: dict[str, Finding] = {}

    def stand_in(secret: str) -> str:
        placeholder = known[secret]
        used.setdefault(secret, Finding(placeholder[8:-1], placeholder, secret))
        return placeholder

    elsewhere = anywhere(known)
    parts: list[str] = []
    position = 0
    for start, end in [*((span.start, span.end) for span in spans), (len(text), len(text))]:
        between = text[position:start]
        parts.append(elsewhere.sub(lambda match: stand_in(match.group()), between) if elsewhere else between)
        if end > start:
            parts.append(stand_in(text[start:end]))
        position = end
    return "".join(parts), used


def anywhere(known: dict[str, str]) -> re.Pattern[str] | None:
    """Match known secrets wherever they stand, as far as that cannot hit a common word."""
    patterns = []
    for secret in sorted(known, key=len, reverse=True):
        escaped = re.escape(secret)
        if len(secret) >= 16:
            patterns.append(escaped)
        elif secret.isalpha() or len(secret) < 5:
            patterns.append(rf"(?<=[\"'`]){escaped}(?=[\"'`])")
        else:
            patterns.append(rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])")
    return re.compile("|".join(patterns)) if patterns else None


def texts_in(value: Any) -> Iterator[str]:
    """Yield every string in nested lists, tuples and dictionaries."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return the same nest with every string changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: map_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        make = getattr(value, "_make", type(value))  # named tuples take their items one by one
        return make(map_texts(item, change) for item in value)
    return value
