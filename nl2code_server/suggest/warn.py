"""What to point out about a candidate before it is taken; what nobody asked for is also held back."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..lang.document import Snapshot
from ..lang.hazards import copied_tokens, licence_lines, risky_calls
from ..lang.hidden import hidden, mixed_names
from ..lang.placement import Placement
from ..lang.validate import Check
from . import Job, Suggestion

SOFT = ("risks", "hidden", "licence")
"""Checks that, when they fail, leave a candidate to those who ask for it."""
_RISKS = (*SOFT, "secrets")
_TOLD = (*_RISKS, "copy", "imports")
_LONG_STRING = re.compile(r"[\"'][^\"'\s]{16,}")
_PERSONAL = ("email", "ip", "user")


def warnings_of(
    job: Job, placement: Placement, after: Snapshot, code: str, imports: tuple[str, ...], raw: str
) -> Iterator[Check]:
    """Yield a check for each thing to be pointed out. `raw` is the code before hidden characters were taken out."""
    before = job.snapshot.text
    wanted = " ".join([job.instruction.text, *placement.scope])
    calls = risky_calls(before, after.text, "\n".join([*imports, code]), wanted)
    if calls:
        unasked = [str(call) for call in calls if not call.asked]
        asked = [str(call) for call in calls if call.asked]
        told = [f"nobody asked for code that {one}" for one in unasked] + [f"it {one}" for one in asked]
        yield Check("risks", not unasked, ", ".join(told))
    if taken := hidden(raw):
        yield Check("hidden", True, f"hidden characters were taken out: {', '.join(taken)}")
    known = f"{before} {job.instruction.text}"
    if mixed := [name for name in mixed_names(code) if name not in known]:
        yield Check("hidden", False, f"letters of two alphabets in {', '.join(mixed)}")
    if licences := licence_lines(before, code, wanted):
        yield Check("licence", False, f"it brings a licence text along: {licences[0]}")
    if (copied := copied_tokens(code, job.accepted)) > 0:
        yield Check("copy", True, f"{copied} tokens in a row are those of code accepted before")
    if secrets := _secrets(code, known):
        yield Check("secrets", True, f"it holds what looks like a secret: {', '.join(secrets)}")


def told(suggestion: Suggestion) -> tuple[str, ...]:
    """Return what to point out about a suggestion, in words for a person."""
    return tuple(check.detail for check in suggestion.checks if check.check in _TOLD and check.detail)


def risks(suggestion: Suggestion) -> str:
    """Return what a person should agree to before such code is put into a file; empty if there is nothing."""
    return "; ".join(check.detail for check in suggestion.checks if check.check in _RISKS and check.detail)


def _secrets(code: str, known: str) -> list[str]:
    """Name the kinds of secrets in code that are not in the file already."""
    if not _LONG_STRING.search(code):
        return []  # the search proper takes its time
    from ..feedback.redact import redact

    found = redact(code).findings
    return sorted(
        {one.kind for one in found if one.secret not in known and not one.kind.startswith(_PERSONAL)}
    )
