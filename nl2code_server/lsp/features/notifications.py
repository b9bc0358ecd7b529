"""What Copilot's clients tell of a suggestion: that it was shown, that a part of it was taken."""

from __future__ import annotations

import logging
from typing import Any

from ..convert import part
from ..offers import Offer
from ..server import Server

log = logging.getLogger(__name__)


async def shown(ls: Server, params: Any) -> None:
    """The user has seen a suggestion."""
    found = _offer(ls, params)
    if found is not None:
        ls.session.event("shown", found)


async def partially_accepted(ls: Server, params: Any) -> None:
    """The user has taken the first part of a suggestion; the length counts from its start, in the client's units."""
    found = _offer(ls, params)
    length = part(params, "acceptedLength")
    if found is None:
        return
    if type(length) is not int or length <= 0:
        log.warning("didPartiallyAcceptCompletion without a usable acceptedLength")
    elif length > found.taken:
        found.taken = length
        ls.session.event("partially_accepted", found, accepted_length=length)


def _offer(ls: Server, params: Any) -> Offer | None:
    """Return the offer that a notification is about: its item carries the command that accepts it."""
    arguments = part(part(part(params, "item"), "command"), "arguments")
    first = arguments[0] if isinstance(arguments, list | tuple) and arguments else None
    found = ls.session.offers.get(first) if isinstance(first, str) else None
    if found is None:
        log.warning("a notification about a suggestion that was not offered")
    return found
