"""Pauses of typing: with a local host the answer is there before the question; with any other nothing is sent."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from e2e.door import COMMENT, GCD, MARK, Door, door, fenced
from fakes.endpoint import FakeEndpoint, Reply
from nl2code_server.config import Settings
from nl2code_server.endpoint import runtime

HEAD = "import math\n\n\n"


@contextmanager
def local_host(fake: FakeEndpoint) -> Iterator[None]:
    """Let a scripted endpoint pass for the model host of this machine."""
    settings = Settings()
    key = runtime.key(settings.engine, settings.model, settings.device)
    record = runtime.Record(
        url=fake.url,
        token="t",
        pid=os.getpid(),
        engine="fake",
        model="fake-model",
        protocol=runtime.PROTOCOL,
        key=key,
        started=time.time(),
    )
    runtime.write(record)
    try:
        yield
    finally:
        runtime.remove(key, os.getpid())


def host(*replies: Any) -> FakeEndpoint:
    return FakeEndpoint(list(replies) or [fenced(GCD)], owned_by="nl2code", prefill=True)


def type_in(editor: Door, text: str) -> None:
    """Type at the end of the file, one key after the other."""
    for key in text:
        buffer = editor.client.buffers[editor.uri]
        editor.client.insert(editor.uri, len(buffer.text), key)


async def ahead(editor: Door) -> dict[str, Any]:
    told: dict[str, Any] = (await editor.client.command("nl2code.status"))["ahead"] or {}
    return told


async def until(condition: Any, timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_the_answer_is_there_when_the_editor_asks() -> None:
    with host() as fake, local_host(fake):
        async with door(None) as editor:
            editor.open(f"{HEAD}{MARK}")
            type_in(editor, COMMENT)
            await until(lambda: fake.chats and fake.chats[0].finished.is_set())
            text = editor.text
            items = await _asked(editor, text)
            assert items
            assert len(fake.chats) == 1, "the answer that was begun in the pause"
            counts = await ahead(editor)
            assert (counts["begun"], counts["asked"], counts["dropped"]) == (1, 1, 0)
            assert counts["ready"] + counts["joined"] == 1
            assert counts["tokens_used"] > 0


async def test_a_new_line_keeps_the_answer_and_a_word_more_ends_it() -> None:
    slow = Reply(text=fenced(GCD), token_delay=0.05)
    with host(slow) as fake, local_host(fake):
        async with door(None) as editor:
            editor.open(f"{HEAD}{MARK}")
            type_in(editor, COMMENT)
            await until(lambda: fake.chats)
            type_in(editor, "\n")
            assert await _asked(editor, editor.text)
            assert len(fake.chats) == 1

            editor.open(f"{HEAD}{MARK}")
            type_in(editor, "# write a function that adds two numbers")
            await until(lambda: len(fake.chats) == 2)
            type_in(editor, " and doubles the sum")
            await until(lambda: fake.chats[1].disconnected.is_set())
            await until(lambda: len(fake.chats) == 3)
            assert (await ahead(editor))["dropped"] == 1


async def test_a_file_that_is_opened_is_warmed_and_nothing_else() -> None:
    with host() as fake, local_host(fake):
        async with door(None) as editor:
            editor.open(f"{HEAD}def f(a):\n    return a\n{MARK}")
            await until(lambda: any(one.path == "/warm" for one in fake.requests))
            (warm,) = [one for one in fake.requests if one.path == "/warm"]
            assert "def f(a):" in warm.body["messages"][1]["content"]
            assert not fake.chats


async def test_an_endpoint_of_the_users_hears_nothing_before_he_asks() -> None:
    with host() as fake:
        async with door(fake) as editor:
            editor.open(f"{HEAD}{MARK}")
            type_in(editor, COMMENT)
            await asyncio.sleep(1.5)
            assert fake.requests == []


async def test_no_host_is_started_for_it() -> None:
    async with door(None) as editor:
        editor.open(f"{HEAD}{MARK}")
        type_in(editor, COMMENT)
        await asyncio.sleep(1.5)
        assert (await editor.client.command("nl2code.status"))["host"] is None
        assert not runtime.records()
        assert editor.statuses == []


async def _asked(editor: Door, text: str) -> list[Any]:
    lines = text.split("\n")
    at = {"line": len(lines) - 1, "character": len(lines[-1])}
    editor.asked = {"textDocument": {"uri": editor.uri}, "position": at}
    answer = await asyncio.wait_for(editor.ask()[1], 20)
    found: list[Any] = answer["items"]
    return found
