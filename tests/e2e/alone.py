"""A whole session in a world that has loopback and nothing else; prints what came of it.

Runs as `unshare -rn python -m e2e.alone FOLDER`: that process and all that it starts have no other network.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys

from e2e.door import COMMENT, GCD, MARK, door, events, fenced
from fakes.endpoint import FakeEndpoint
from nl2code_server.cli.doctor_network import _raise_loopback


def _is_shut() -> bool:
    """Tell whether there is no way out, not even to a name server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return one.connect_ex(("198.51.100.7", 9)) != 0


async def _session() -> dict[str, object]:
    told: dict[str, object] = {"shut": _is_shut()}
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake) as editor:
            told["file"] = await editor.completed(f"{COMMENT}{MARK}\n")
            (generate, *_) = await editor.actions()
            told["action"] = generate["title"]
            await events("offered", "accepted")
    return told


def main() -> None:
    """Switch loopback on, and be an editor."""
    os.environ["NL2CODE_HOME"] = sys.argv[1]
    _raise_loopback()
    print(json.dumps(asyncio.run(_session())))


if __name__ == "__main__":
    main()
