"""Sessions with texts, endpoints, clients and folders as nobody would wish for."""

from __future__ import annotations

import ast
import asyncio
import gzip
import hashlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.door import COMMENT, FULL, GCD, MARK, door, fenced, store
from e2e.inside import INTERNAL_ERROR, Faults, Inside, Json, Text, sound
from e2e.rpc import position_of
from fakes.endpoint import FakeEndpoint, Reply
from nl2code_server.feedback.store import Store

URI = "file:///w/a.py"


@asynccontextmanager
async def session(fake: FakeEndpoint, **params: Json) -> AsyncIterator[Inside]:
    """Begin a session; at its end nothing may be unanswered, and no mistake of ours may have been logged."""
    with Faults() as faults:
        asyncio.get_running_loop().set_exception_handler(faults.in_loop)
        editor = Inside({"endpoint": fake.url, "request_timeout": 5, "budget_seconds": 5})
        await editor.initialize(FULL, **params)
        yield editor
        await editor.wait_for(editor.waiting, 30)
        assert editor.answered == editor.asked
        assert not any(result.get("code") == INTERNAL_ERROR for result in editor.results.values())
        await editor.leave()
        assert not faults.found, "\n".join(faults.found)


def open_file(editor: Inside, text: str, uri: str = URI) -> None:
    item = {"uri": uri, "languageId": "python", "version": 1, "text": text}
    editor.notify("textDocument/didOpen", {"textDocument": item})


def at_the_mark(marked: str, uri: str = URI) -> Json:
    at = position_of(sound(marked.replace(MARK, "")), sound(marked).index(MARK), "utf-16")
    return {"textDocument": {"uri": uri}, "position": at, "context": {"triggerKind": 1}}


async def offered(editor: Inside, marked: str, number: Json = "ask") -> list[Json]:
    open_file(editor, marked.replace(MARK, ""))
    answer = await editor.request(number, "textDocument/inlineCompletion", at_the_mark(marked))
    items: list[Json] = answer["result"]["items"]
    return items


async def digest(editor: Inside, number: Json = "digest") -> str:
    params = {"command": "nl2code.status", "arguments": [URI]}
    answer = await editor.request(number, "workspace/executeCommand", params)
    return str(answer["result"]["sha256"])


TEXTS = {
    "byte order mark": f"\ufeff{COMMENT}{MARK}",
    "form feed": f"\x0c{COMMENT}{MARK}\n\x0c\n",
    "line ends of Python alone": f's = "\u2028\x85\x0b"\n{COMMENT}{MARK}\n',
    "a cookie": f"# -*- coding: latin-1 -*-\nx = 'é'\n{COMMENT}{MARK}",
    "carriage returns": f"x = 1\r\r{COMMENT}{MARK}\r",
    "mixed line ends": f"x = 1\r\ny = 2\nz = 3\r{COMMENT}{MARK}\r\n",
    "a long line": f"x = '{'y' * 200_000}'\n{COMMENT}{MARK}",
    "astral": f"s = '😋'  # 😋\n{COMMENT}{MARK}  ",
    "half a character": f"s = '\ud800'\n{COMMENT}{MARK}",
}


@pytest.mark.parametrize("name", TEXTS)
async def test_code_is_put_into_odd_files_where_it_belongs(name: str) -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with session(fake) as editor:
            (item,) = await offered(editor, TEXTS[name])
            reference = Text(TEXTS[name].replace(MARK, ""), "utf-16")
            change = {"range": item["range"], "text": item["insertText"]}
            reference.change(change["range"], change["text"])
            document = {"uri": URI, "version": 2}
            editor.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})
            assert await digest(editor) == hashlib.sha256(reference.text.encode()).hexdigest()
            assert "def gcd" in reference.text
            ast.parse(reference.text.encode())


async def test_half_characters_from_both_sides_reach_the_log_as_something_harmless() -> None:
    chunk = r'{"choices": [{"index": 0, "delta": {"content": "```python\ndef f():\n    return \"\ud800\"\n```"}}]}'
    reply = Reply(body=f"data: {chunk}\n\ndata: [DONE]\n\n", content_type="text/event-stream")
    with FakeEndpoint([reply]) as fake:
        async with session(fake) as editor:
            await offered(editor, f"# write a function returning \ud83d twice{MARK}")
    with Store(store()) as opened:
        record = opened.record()
    assert record is not None
    assert "twice" in record.request.instruction
    for text in (record.request.instruction, *(one.raw for one in record.candidates)):
        text.encode()


async def test_a_file_full_of_instructions_asks_for_nothing_by_itself() -> None:
    text = "".join(f"# write a function that returns {number}\n\n" for number in range(3000))
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with session(fake) as editor:
            open_file(editor, text)
            at = {"line": 1500, "character": 3}
            place = {"textDocument": {"uri": URI}}
            hover = await editor.request("h", "textDocument/hover", {**place, "position": at})
            assert "takes this for a request" in hover["result"]["contents"]["value"]
            context: Json = {"diagnostics": []}
            params = {**place, "range": {"start": at, "end": at}, "context": context}
            assert (await editor.request("a", "textDocument/codeAction", params))["result"]
            assert fake.chats == []
            marked = text.replace("returns 1500\n", f"returns 1500{MARK}\n")
            began = time.process_time()
            await editor.request("i", "textDocument/inlineCompletion", at_the_mark(marked))
            assert time.process_time() - began < 2
            assert len(fake.chats) <= 4  # one instruction's tries


async def test_many_and_large_files_do_not_keep_a_keystroke_waiting() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with session(fake) as editor:
            for number in range(100):
                open_file(editor, f"x = {number}\n" * 1000, f"file:///w/{number}.py")
            open_file(editor, "x = 1\n" * 3_000_000)  # 18 MB
            await digest(editor, "opened")
            end = {"line": 1_500_000, "character": 0}
            change = {"range": {"start": end, "end": end}, "text": "y"}
            waited = []
            for version in range(2, 12):
                document = {"uri": URI, "version": version}
                began = time.process_time()
                editor.notify(
                    "textDocument/didChange", {"textDocument": document, "contentChanges": [change]}
                )
                params = {"textDocument": {"uri": URI}, "position": end, "context": {"triggerKind": 2}}
                answer = await editor.request(version, "textDocument/inlineCompletion", params)
                waited.append(time.process_time() - began)
                assert answer["result"]["items"] == []
            # Of our own time, which other processes do not lengthen.
            assert sorted(waited)[5] < 0.2, waited


@pytest.mark.parametrize("way", ["closed", "renamed", "opened again"])
async def test_a_file_that_goes_while_code_is_made_for_it(way: str) -> None:
    marked = f"{COMMENT}{MARK}"
    with FakeEndpoint([Reply(text=fenced(GCD), token_delay=0.01)]) as fake:
        async with session(fake) as editor:
            open_file(editor, COMMENT)
            ask = {"id": "i", "method": "textDocument/inlineCompletion", "params": at_the_mark(marked)}
            generate = {"command": "nl2code.generate", "arguments": [URI, 0]}
            editor.send(ask)
            editor.send({"id": "g", "method": "workspace/executeCommand", "params": generate})
            await asyncio.to_thread(fake.wait_for_chats, 1)
            editor.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
            if way == "renamed":
                open_file(editor, COMMENT, "file:///w/b.py")
            elif way == "opened again":
                open_file(editor, "x = 1\n")
            await editor.wait_for(["i", "g"], 30)
            assert editor.results["i"]["result"]["items"] == []
            # Refused, or told why not.
            assert editor.results["g"].get("result", {}).get("applied") is not True
            assert not [one for one in editor.questions if one["method"] == "workspace/applyEdit"]


async def test_a_storm_of_requests_taken_back_at_any_time() -> None:
    draw = random.Random(10)
    with FakeEndpoint([Reply(text=fenced(GCD), token_delay=0.002)]) as fake:
        async with session(fake) as editor:
            open_file(editor, COMMENT)
            params = at_the_mark(f"{COMMENT}{MARK}")
            waiting: list[int] = []
            for number in range(1000):
                editor.send({"id": number, "method": "textDocument/inlineCompletion", "params": params})
                waiting.append(number)
                while waiting and draw.random() < 0.55:
                    taken = waiting.pop(draw.randrange(len(waiting)))
                    editor.notify("$/cancelRequest", {"id": taken})
                if draw.random() < 0.05:
                    await asyncio.sleep(draw.random() * 0.02)
            for number in waiting:
                editor.notify("$/cancelRequest", {"id": number})
            await editor.wait_for(list(range(1000)), 30)
            assert {editor.answered[number] for number in range(1000)} == {1}
            codes = {editor.results[number].get("code") for number in range(1000)}
            assert codes <= {None, -32800}
            # Who comes after the storm is served.
            assert await offered(editor, f"{COMMENT}{MARK}", "after")


async def test_a_client_that_reads_nothing_keeps_no_process() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake) as editor:
            client = editor.client
            client.leaving = True
            reading = client.tasks[0]
            reading.cancel()
            await asyncio.wait([reading])
            # More than any pipe holds, and than asyncio reads ahead.
            getattr(client.process, "_transport").get_pipe_transport(1).pause_reading()  # noqa: B009
            for number in range(20_000):
                client.send(id=f"s{number}", method="nobody/asks", params=None)
            assert client.process.stdin
            client.process.stdin.close()
            # Not `wait`, which waits for the end of what nobody reads, too.
            for _ in range(300):
                if client.process.returncode is not None:
                    break
                await asyncio.sleep(0.1)
            assert client.process.returncode == 1
            getattr(client.process, "_transport").get_pipe_transport(1).resume_reading()  # noqa: B009


ANSWERS = {
    "JavaScript": "```javascript\nfunction gcd(a, b) {\n  return b ? gcd(b, a % b) : a;\n}\n```",
    "a diff": "```diff\n--- a.py\n+++ a.py\n@@ -1 +1,2 @@\n+def gcd(a, b):\n+    return a\n```",
    "HTML": "<!DOCTYPE html><html><body>502 Bad Gateway</body></html>",
    "an apology": "I'm sorry, but as a language model I cannot do that.",
    "nothing": "",
    "an empty block": "```python\n```",
    "only the comment": f"```python\n{COMMENT}\n```",
    "Python 2": '```python\ndef gcd(a, b):\n    print "gcd", a\n```',
    "half a function": "```python\ndef gcd(a, b):\n    while (b",
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_that_is_no_code_is_not_put_in(name: str) -> None:
    with FakeEndpoint([ANSWERS[name]]) as fake:
        async with session(fake) as editor:
            assert await offered(editor, f"{COMMENT}{MARK}") == []


async def test_of_two_blocks_and_of_a_flood_of_words_only_code_is_taken() -> None:
    two = f"Here is a wrong one:\n```python\n{GCD}```\nand a note:\n```\nnot code at all\n```\n"
    endless = fenced(GCD) + "and so on " * 20_000
    for text in (two, endless):
        with FakeEndpoint([text]) as fake:
            async with session(fake) as editor:
                (item,) = await offered(editor, f"{COMMENT}{MARK}")
                ast.parse(COMMENT + item["insertText"])
                assert "not code" not in item["insertText"]


async def test_a_small_answer_that_unpacks_to_a_huge_one() -> None:
    packed = gzip.compress(b"data: " + b" " * 200_000_000 + b"\n\n")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b"gzip" not in head
        kind = b"text/event-stream" if b"post" in head[:4] else b"application/json"
        body = packed if b"post" in head[:4] else gzip.compress(b'{"data": [{"id": "m"}]}')
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b"
            % (kind, len(body), body)
        )
        await writer.drain()
        writer.close()

    with FakeEndpoint() as fake:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            async with session(fake) as editor:
                assert await offered(editor, f"{COMMENT}{MARK}") == []


@pytest.mark.parametrize("name", ["a space", "写 é 😋", "quo'te\"s", "a%20b#c?d", "long"])
async def test_a_workspace_of_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / ("/".join(["d" * 200] * 15) if name == "long" else name)
    folder.mkdir(parents=True)
    (folder / "helpers.py").write_text("def half(x):\n    return x / 2\n")
    link = tmp_path / "link"
    link.symlink_to(folder)
    for root in (folder, link):
        uri = f"{root.as_uri()}/main.py"
        with FakeEndpoint([fenced(GCD)]) as fake:
            async with session(fake, rootUri=root.as_uri()) as editor:
                text = f"from helpers import half\n\n{COMMENT}"
                open_file(editor, text, uri)
                params: Any = at_the_mark(f"{text}{MARK}", uri)
                answer = await editor.request("i", "textDocument/inlineCompletion", params)
                assert len(answer["result"]["items"]) == 1
