"""Logs from which nothing good can be learnt: verdicts dealt out anew, turned round, or given for shortness. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from nl2code_server.feedback.store import Record
from nl2code_server.feedback.tracker import similarity


def shuffled(records: Sequence[Record], draw: random.Random) -> list[Record]:
    """Return a log whose verdicts are dealt out anew among the answers that were judged.

    All are about what was offered: what the programmer wrote in its place shows the style, whatever the verdict.
    """
    judged = [one for one in records if _verdict(one)]
    verdicts = [_verdict(one) for one in judged]
    draw.shuffle(verdicts)
    dealt = {id(one): verdict for one, verdict in zip(judged, verdicts, strict=True)}
    return [_dealt(one, verdict) if (verdict := dealt.get(id(one))) else one for one in records]


def flipped(records: Sequence[Record], _: random.Random) -> list[Record]:
    """Return the log of a programmer who takes what they would turn down, and what they would mend as it is."""
    return [
        _dealt(one, "rejected" if verdict == "accepted" and not _mended(one) else "accepted")
        if verdict
        else one
        for one, verdict in ((one, _verdict(one)) for one in records)
    ]


def short(records: Sequence[Record], _: random.Random) -> list[Record]:
    """Return the log of a programmer who leaves nothing of an answer but its first line."""
    return [_dealt(one, "short") if _verdict(one) else one for one in records]


BAD: Mapping[str, Callable[[Sequence[Record], random.Random], list[Record]]] = {
    "shuffled": shuffled,
    "flipped": flipped,
    "short": short,
}


def _verdict(record: Record) -> str:
    kinds = {one.event for one in record.events}
    return next((kind for kind in ("accepted", "rejected") if kind in kinds), "")


def _mended(record: Record) -> bool:
    return any(one.event == "kept" and (one.kept_ratio or 0.0) < 1 for one in record.events)


def _dealt(record: Record, verdict: str) -> Record:
    before = next(one for one in record.events if one.event == _verdict(record))
    text = next(one.text for one in record.candidates if one.candidate_id == before.suggestion_id)
    events = [one for one in record.events if one.event in ("offered", "shown")]
    if verdict == "rejected":
        return replace(record, events=[*events, replace(before, event="rejected", cause="style", data={})])
    final = f"{text.split(chr(10))[0]}\n    ..." if verdict == "short" else text
    events.append(replace(before, event="accepted", cause=""))
    events.append(
        replace(
            before,
            event="kept",
            cause="",
            time=before.time + 1,
            checkpoint="save",
            kept_ratio=similarity(text, final),
            final_text=final,
        )
    )
    return replace(record, events=events)
