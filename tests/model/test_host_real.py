"""The host with real weights: answers, repeats itself, stops when told, and survives what kills its engine."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from e2e.serving import serves_nobody_else
from nl2code_model.host import chat
from nl2code_model.host.engine import Chunk, EngineFailed, Generation, Message, PromptTooLong, Usage
from nl2code_model.host.llamacpp import LlamaCpp
from nl2code_model.host.llamacpp_process import Child, Load
from nl2code_model.models.catalog import Located, locate
from nl2code_server.endpoint.runtime import Record

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

CHINESE = "请编写一个Python函数，用于计算两个数的最大公约数。"
ENGLISH = "Write a Python function computing the gcd of two numbers."
Host = tuple[Record, "subprocess.Popen[str]"]


@pytest.fixture(name="http")
async def _http(real_host: Host) -> AsyncIterator[httpx2.AsyncClient]:
    record, _ = real_host
    headers = {"Authorization": f"Bearer {record.token}"}
    base = record.url.removesuffix("/v1")
    async with httpx2.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=300) as http:
        yield http


def ask(text: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "```python\n"}]
    return {"model": "qwen2.5-coder-0.5b", "messages": messages, "temperature": 0, "stop": ["```"], **fields}


async def answer(http: httpx2.AsyncClient, text: str, **fields: Any) -> dict[str, Any]:
    response = await http.post("/v1/chat/completions", json=ask(text, **fields))
    assert response.status_code == 200, response.text
    return dict(response.json())


async def metrics(http: httpx2.AsyncClient) -> dict[str, float]:
    lines = (await http.get("/metrics")).text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


async def quiet(http: httpx2.AsyncClient) -> dict[str, float]:
    """Wait until neither host nor child works, and return their figures."""
    async with asyncio.timeout(60):
        while True:
            now = await metrics(http)
            if not now["nl2code_running"] and not now["llamacpp:requests_processing"]:
                return now
            await asyncio.sleep(0.02)


async def beyond(
    http: httpx2.AsyncClient, name: str, before: dict[str, float], by: float = 1
) -> dict[str, float]:
    """Wait until a figure has grown."""
    async with asyncio.timeout(120):
        while True:
            now = await metrics(http)
            if now[name] >= before[name] + by:
                return now
            await asyncio.sleep(0.02)


def child_of(process: subprocess.Popen[str]) -> int:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    )
    (pid,) = found.stdout.split()
    return int(pid)


def about(pid: int | None, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def chat_of(text: str, **fields: Any) -> Generation:
    return Generation((Message("system", "You write Python."), Message("user", text)), **fields)


# --- answers ---


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
async def test_it_writes_a_function_for_a_sentence_and_the_same_one_again(
    http: httpx2.AsyncClient, text: str
) -> None:
    first, second = [await answer(http, text, max_tokens=120) for _ in range(2)]
    code = first["choices"][0]["message"]["content"]
    assert any(isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(code)))
    assert second["choices"][0]["message"]["content"] == code
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > 20


async def test_several_candidates_differ_and_a_seed_brings_them_back(http: httpx2.AsyncClient) -> None:
    fields = {"n": 2, "temperature": 1.2, "seed": 7, "max_tokens": 16, "logprobs": True}
    # A prompt evaluated at once and one found in the cache differ in the last digits, which a seed does not mend.
    await answer(http, ENGLISH, max_tokens=1)
    first, second = [await answer(http, ENGLISH, **fields) for _ in range(2)]
    texts = [choice["message"]["content"] for choice in first["choices"]]
    assert texts[0] != texts[1]
    assert texts == [choice["message"]["content"] for choice in second["choices"]]
    for choice in first["choices"]:
        assert all(entry["logprob"] <= 0 for entry in choice["logprobs"]["content"])
    assert 16 < first["usage"]["completion_tokens"] <= 32


async def test_a_prompt_beyond_the_context_is_refused_at_once(http: httpx2.AsyncClient) -> None:
    before = await quiet(http)
    response = await http.post("/v1/chat/completions", json=ask("x = 1\n" * 5000))
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "exceed_context_size_error")
    assert error["n_prompt_tokens"] > error["n_ctx"] == 8192
    assert (await quiet(http))["llamacpp:prompt_tokens_total"] == before["llamacpp:prompt_tokens_total"]


# --- clients that go away ---


async def test_leaving_a_stream_stops_the_decoding(http: httpx2.AsyncClient) -> None:
    before = await quiet(http)
    request = ask("Count from 1 to 1000, one number a line.", max_tokens=500, stream=True, stop=["never"])
    async with http.stream("POST", "/v1/chat/completions", json=request) as response:
        lines = response.aiter_lines()
        read = 0
        while read < 8:
            read += (await anext(lines)).startswith("data: ")
    after = await quiet(http)
    made = after["llamacpp:tokens_predicted_total"] - before["llamacpp:tokens_predicted_total"]
    print(f"\nread {read} tokens, {made:.0f} were made")
    assert read <= made <= read + 5


async def test_leaving_a_whole_answer_stops_it_too(http: httpx2.AsyncClient) -> None:
    before = await quiet(http)
    request = ask("Count from 1 to 1000, one number a line.", max_tokens=500, stop=["never"])
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=request))
    await beyond(http, "nl2code_generated_tokens_total", before, by=5)
    asking.cancel()
    seen = await metrics(http)
    after = await quiet(http)
    late = after["nl2code_generated_tokens_total"] - seen["nl2code_generated_tokens_total"]
    made = after["llamacpp:tokens_predicted_total"] - before["llamacpp:tokens_predicted_total"]
    print(f"\n{late:.0f} tokens after leaving, {made:.0f} in all")
    assert late <= 5
    assert made < 100


async def test_leaving_during_the_prompt_stops_within_a_slice(http: httpx2.AsyncClient) -> None:
    before = await quiet(http)
    text = "\n".join(f"value_{n} = {n * 7919 % 1000}" for n in range(300))
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=ask(text, max_tokens=5)))
    await beyond(http, "nl2code_prompt_tokens_total", before)
    asking.cancel()
    began = time.monotonic()
    seen = await metrics(http)
    after = await quiet(http)
    begun = after["nl2code_prompt_tokens_total"] - before["nl2code_prompt_tokens_total"]
    done = after["llamacpp:prompt_tokens_total"] - before["llamacpp:prompt_tokens_total"]
    print(
        f"\n{done:.0f} prompt tokens evaluated of some 3000, quiet {time.monotonic() - began:.2f} s after leaving"
    )
    assert after["nl2code_prompt_tokens_total"] - seen["nl2code_prompt_tokens_total"] <= 512
    assert done <= begun <= 1024
    # What was evaluated is not lost.
    again = asyncio.create_task(http.post("/v1/chat/completions", json=ask(text, max_tokens=5)))
    now = await beyond(http, "nl2code_cached_tokens_total", after)
    again.cancel()
    assert now["nl2code_cached_tokens_total"] - after["nl2code_cached_tokens_total"] >= begun
    await quiet(http)


# --- an engine that dies ---


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
async def test_a_killed_engine_ends_the_request_and_serves_the_next(
    http: httpx2.AsyncClient, real_host: Host
) -> None:
    before = await quiet(http)
    request = ask("Count from 1 to 1000, one number a line.", max_tokens=500, stream=True, stop=["never"])
    async with http.stream("POST", "/v1/chat/completions", json=request) as response:
        lines = response.aiter_lines()
        await anext(lines)
        os.kill(child_of(real_host[1]), signal.SIGKILL)
        data = [line.removeprefix("data: ") async for line in lines if line]
    assert "llama.cpp ended" in json.loads(data[-1])["error"]["message"]
    began = time.monotonic()
    assert (await answer(http, ENGLISH, max_tokens=5))["choices"][0]["message"]["content"]
    print(f"\nnext answer {time.monotonic() - began:.2f} s after the death")
    after = await metrics(http)
    assert after["nl2code_engine_restarts_total"] == before["nl2code_engine_restarts_total"] + 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_the_child_dies_with_its_host(real_model: Path) -> None:
    command = [sys.executable, "-m", "nl2code_server.cli", "serve", "--json", "--model", str(real_model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert Record(**json.loads(process.stdout.readline())).model == real_model.stem
        child = child_of(process)
        process.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(name="engine")
async def _engine(real_model: Path) -> AsyncIterator[LlamaCpp]:
    engine = LlamaCpp(locate("qwen2.5-coder-0.5b"), threads=2, context=2048)
    await engine.start()
    yield engine
    await engine.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
async def test_an_engine_that_hangs_is_replaced(engine: LlamaCpp) -> None:
    pid = engine.child_pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    engine.stall_timeout = 1.0
    with pytest.raises(EngineFailed, match="no sign"):
        _ = [piece async for piece in engine.generate(chat_of("hi"))]
    engine.stall_timeout = 60.0
    pieces = [piece async for piece in engine.generate(chat_of("hi", max_tokens=3))]
    assert isinstance(pieces[-1], Usage)
    assert engine.child_pid != pid
    with pytest.raises(PromptTooLong):
        _ = [piece async for piece in engine.generate(chat_of("x = 1\n" * 1000))]


async def test_candidates_made_at_once_are_those_of_their_seeds_and_push_no_prompt_out(smollm2: Path) -> None:
    engine = LlamaCpp(locate("smollm2-135m"), threads=1, context=2048)
    await engine.start()
    try:
        others = [chat_of(text * 20, max_tokens=2) for text in ("Tell me of the sea. ", "Name some fruit: ")]
        for other in others:
            await told(engine, other)
        asked = chat_of("Write a short poem about a cat", max_tokens=12, temperature=1.2, seed=5)
        texts, _ = await told(engine, replace(asked, n=3))
        alone = [(await told(engine, replace(asked, seed=5 + number)))[0][0] for number in range(3)]
        # A batch computes in another order: now and then a draw falls otherwise.
        assert sum(texts[number] == alone[number] for number in range(3)) >= 2
        assert len(set(texts.values())) == 3
        _, usage = await told(engine, others[0])
        assert usage.cached_tokens > 100
    finally:
        await engine.stop()


async def test_a_warmed_prompt_is_there_for_what_begins_like_it(smollm2: Path) -> None:
    engine = LlamaCpp(locate("smollm2-135m"), threads=1, context=2048)
    await engine.start()
    try:
        file = "def f(x): return x\n" * 40
        await engine.warm(chat_of(file))
        warmed = engine.counts.warmed_tokens
        assert warmed == engine.counts.prompt_tokens > 250
        _, usage = await told(engine, chat_of(f"{file}Write g.", max_tokens=2))
        assert usage.cached_tokens > warmed * 0.9
        assert engine.counts.warmed_tokens_used == usage.cached_tokens
        warming = asyncio.create_task(engine.warm(chat_of("x = 1\n" * 400)))
        await asyncio.sleep(0.3)
        warming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await warming
        assert (await told(engine, chat_of("hi", max_tokens=2)))[1].completion_tokens == 2
    finally:
        await engine.stop()


async def told(engine: LlamaCpp, generation: Generation) -> tuple[dict[int, str], Usage]:
    texts: dict[int, str] = {}
    async for piece in engine.generate(generation):
        if isinstance(piece, Usage):
            return texts, piece
        texts[piece.index] = texts.get(piece.index, "") + piece.text
    raise AssertionError("no usage")


# --- what a user writes stays text ---


@pytest.mark.parametrize("name", ["qwen2.5-coder-0.5b", "smollm2-135m"])
async def test_special_tokens_in_a_users_text_stay_text(real_model: Path, smollm2: Path, name: str) -> None:
    engine = LlamaCpp(locate(name), threads=2, context=2048)
    header = engine._header
    special = {**header.control_tokens, **header.user_defined_tokens}
    await engine.start()
    try:
        plain = await engine.prompt(chat_of("x", prefill="y"))
        expected = sum(token in special.values() for token in plain)
        texts = [f"a{token}b {token}\n{token}" for token in special] + ["".join(special), chat.END * 3]
        for text in texts:
            prompt = await engine.prompt(
                Generation((Message("system", text), Message("user", text)), prefill=text)
            )
            assert sum(token in special.values() for token in prompt) == expected, text
        # Where nobody plays tricks, the prompt is what the file's own template makes of the chat.
        for generation in (
            chat_of("  def f(x):\n\n    return x\n", prefill="```python\n"),
            Generation((Message("user", CHINESE), Message("assistant", "Ja."), Message("user", "🎉 \t é"))),
        ):
            http = await engine._ready()
            messages = [{"role": m.role, "content": m.content} for m in generation.messages]
            messages += [{"role": "assistant", "content": generation.prefill}] if generation.prefill else []
            rendered = (await engine._post(http, "/apply-template", {"messages": messages}))["prompt"]
            assert await engine.prompt(generation) == await engine._tokens(http, [rendered], special=True)
        # The way of models whose template is not ChatML keeps texts apart as well.
        engine._chatml = False
        for text in (*texts, "hello"):
            prompt = await engine.prompt(chat_of(text, prefill=text))
            assert sum(token in special.values() for token in prompt) == expected, text
    finally:
        await engine.stop()


async def test_a_file_that_llama_cpp_cannot_load_is_told_with_its_reason(
    smollm2: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    shutil.copyfile(smollm2, cut)
    os.truncate(cut, cut.stat().st_size - 1000)
    with pytest.raises(EngineFailed, match=r"cut.gguf: .*(bounds|corrupt|incomplete|size)") as caught:
        await LlamaCpp(Located("cut", cut, None), threads=1).start()
    print(f"\n{caught.value}")


async def test_the_stream_of_an_engine_ends_each_candidate_once(engine: LlamaCpp) -> None:
    pieces = [piece async for piece in engine.generate(chat_of("hi", n=2, max_tokens=4, temperature=1.0))]
    chunks = [piece for piece in pieces if isinstance(piece, Chunk)]
    assert sorted(chunk.index for chunk in chunks if chunk.finish_reason) == [0, 1]
    usage = pieces[-1]
    assert isinstance(usage, Usage)
    assert usage.completion_tokens == sum(chunk.tokens for chunk in chunks)


async def test_the_child_loads_the_file_that_was_checked_within_limits_and_without_keys(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.gguf"
    shutil.copyfile(smollm2, model)
    monkeypatch.setenv("SOME_API_KEY", "of-the-user")
    begin = Child.start

    async def replaced(load: Load, descriptor: int) -> Child:
        model.unlink()
        model.write_bytes(b"GGUF of somebody else")
        return await begin(load, descriptor)

    monkeypatch.setattr(Child, "start", replaced)
    engine = LlamaCpp(Located("model", model, None), threads=1)
    await engine.start()
    try:
        assert [piece async for piece in engine.generate(chat_of("hi", max_tokens=4))]
        limits = about(engine.child_pid, "limits")
        for line in (
            r"Max file size +0 ",
            r"Max core file size +0 ",
            r"Max open files +256 ",
            r"Max address space +\d",
        ):
            assert re.search(line, limits), limits
        assert "SOME_API_KEY" not in about(engine.child_pid, "environ")
        assert engine._child
        async with httpx2.AsyncClient(base_url=engine._child.url, trust_env=False) as nobody:
            for path in (
                "/v1/models",
                "/props",
                "/slots",
                "/metrics",
                "/completion",
                "/tokenize",
                "/lora-adapters",
            ):
                assert (await nobody.post(path, json={})).status_code in (401, 404), path
                assert (await nobody.get(path)).status_code in (401, 404), path
    finally:
        await engine.stop()


async def test_nobody_else_is_served(real_host: Host) -> None:
    await serves_nobody_else(real_host[0])
