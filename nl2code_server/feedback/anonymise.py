"""Take out of a record who it is from: identities, addresses, paths, hosts, keys. For export; no I/O.

Each becomes a typed placeholder, `<EMAIL_1>`, `<PATH_2>`; the same thing gets the same one throughout a record, and
another in the next, so that records cannot be joined by them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from .detect import Span, find
from .events import CandidateRow, EventRow, RequestRow
from .redact import anywhere, map_texts, texts_in

_DAY = 86400.0
_TYPES = {
    "email": "EMAIL",
    "ip": "HOST",
    "user": "NAME",
    "random": "KEY",
    "password": "PASSWORD",
    "jwt": "TOKEN",
}
_FOLDERS = "home|Users|root|mnt|media|srv|opt|var|tmp|usr|etc|data|work|workspace|Volumes|private|scratch|nfs|cluster"
_OWN_DOMAINS = r"internal|intern|local|corp|lan|intranet|home\.arpa"
_ROLES = "author|maintainer|created by|written by|reviewed by|signed-off-by|co-authored-by|assignee"
_PERSON = r"[A-Z][\w.'’-]*\w(?: [A-Z][\w.'’-]*\w){1,3}"
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("PATH", r"\bfile://[^\s\"'`<>)\]]+"),
        ("PATH", rf"(?<![\w.:/~-])/(?:{_FOLDERS})/[\w.+@~ -]*[\w+@~-](?:/[\w.+@~-]*[\w+@~-])*"),
        ("PATH", r"(?<![\w/])~[\w.-]{0,32}/[\w.+@~/-]*[\w+@~-]"),
        ("PATH", r"\b[A-Za-z]:\\{1,2}(?:[\w.+@~ -]+\\{1,2})*[\w.+@~-]+"),
        ("PATH", r"(?<![\\\w])\\\\[\w.-]+\\[\w.$\\-]+"),
        ("HOST", r"(?<![\w.=])(?!127\.|0\.0\.0\.0)(?:\d{1,3}\.){3}\d{1,3}(?![\w.])"),
        ("HOST", rf"(?i)\b[\w-]+(?:\.[\w-]+)*\.(?:{_OWN_DOMAINS})(?:\.\w{{2,6}})?\b(?!\()"),
        ("PHONE", r"(?<![\w.+-])\+\d{1,3}[ ().-]{0,2}\d(?:[ ().-]{0,2}\d){6,12}(?![\w-])"),
        ("NAME", r"(?<![\w/.@])@[A-Za-z][\w-]{1,38}(?=\s+(?:please|wrote|said|can|could|fix|review|todo)\b)"),
        ("NAME", r"\b(?:TODO|FIXME|XXX|HACK)\(@?([A-Za-z][\w.-]{1,38})\)"),
        ("NAME", rf"(?i:\b(?:{_ROLES})s?\b|__author__)[\"']?\s{{0,3}}[:=]?\s{{0,3}}[\"']?({_PERSON})"),
        ("NAME", rf"(?i:copyright)\W{{1,6}}(?:\(c\)\W{{0,3}})?(?:\d{{4}}[\d ,-]*)?({_PERSON})"),
    )
)  # fmt: skip
_SECRET = re.compile(r"<SECRET:([a-z0-9-]+?)(?:-\d+)?>")


@dataclass(frozen=True, slots=True)
class Anonymous:
    """A record without whom it is from."""

    value: Any
    replaced: dict[str, str]
    """What each placeholder stands for: to be shown to the user, and to nobody else."""


def anonymise(value: Any, own: Collection[str] = ()) -> Anonymous:
    """Replace what identifies somebody in every string of a nest, as one record.

    `own` are words that are the user's: login, host name, real name.
    """
    known: dict[str, str] = {}
    spans = {text: list(_spans(text, own)) for text in texts_in(value)}
    for text, found in spans.items():
        for span in found:
            _name(text[span.start : span.end], span.kind, known)
    pattern = anywhere(known)

    def change(text: str) -> str:
        parts, at = [], 0
        for span in [*spans[text], Span(len(text), len(text), 0, "")]:
            between = text[at : span.start]
            parts.append(pattern.sub(lambda match: known[match[0]], between) if pattern else between)
            if span.kind:
                parts.append(known[text[span.start : span.end]])
            at = span.end
        return "".join(parts)

    return Anonymous(map_texts(value, change), {placeholder: text for text, placeholder in known.items()})


def anonymous_rows(
    request: RequestRow, candidates: list[CandidateRow], events: list[EventRow], own: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a record as plain data without whom it is from, and what was replaced.

    Ids that join records go, the editor's name too; times keep their distances and lose their hour.
    """
    shift = request.time % _DAY
    request = replace(request, time=request.time - shift, session_id="", file_id="", project_id="", client="")
    events = [replace(event, time=event.time - shift, data=_without_pid(event.data)) for event in events]
    rows = {
        "request": asdict(request),
        "candidates": [asdict(row) for row in candidates],
        "events": [asdict(row) for row in events],
    }
    ids = {row.candidate_id for row in candidates} | {request.request_id, request.prompt_hash}
    kept = {one: f"\0{number}\0" for number, one in enumerate(sorted(ids - {""}))}
    # Ids and hashes look like keys; they are random, and hold the record together.
    hidden = map_texts(rows, lambda text: kept.get(text, text))
    anonymous = anonymise(hidden, own)
    back = {mark: one for one, mark in kept.items()}
    return map_texts(anonymous.value, lambda text: back.get(text, text)), anonymous.replaced


def _without_pid(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "pid"}


def _spans(text: str, own: Collection[str]) -> Iterator[Span]:
    """Yield disjoint spans in order; where rules overlap, the longest of those that start first."""
    end = 0
    for span in sorted(_all(text, own), key=lambda span: (span.start, -span.end)):
        if span.start >= end:
            yield span
            end = span.end


def _all(text: str, own: Collection[str]) -> Iterator[Span]:
    taken = [match.span() for match in _SECRET.finditer(text)]
    for match in _SECRET.finditer(text):
        yield Span(*match.span(), 0, _type(match[1]))
    for span in find(text):
        if not any(span.start < end and start < span.end for start, end in taken):
            yield Span(span.start, span.end, 0, _type(span.kind))
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            yield Span(*match.span(pattern.groups), 1, kind)
    for word in own:
        if len(word) > 2:
            for match in re.finditer(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", text, re.IGNORECASE):
                yield Span(*match.span(), 2, "NAME")


def _type(kind: str) -> str:
    if kind in _TYPES:
        return _TYPES[kind]
    return "TOKEN" if "token" in kind or kind == "authorization" else "KEY"


def _name(text: str, kind: str, known: dict[str, str]) -> None:
    if text not in known:
        number = 1 + sum(name.startswith(f"<{kind}_") for name in known.values())
        known[text] = f"<{kind}_{number}>"
