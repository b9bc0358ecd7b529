"""The host over real HTTP on loopback, with an engine that plays a script."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from fakes.engine import DEFAULT_SCRIPT, FakeEngine
from fakes.routes import host_routes
from nl2code_model.host.app import Host
from nl2code_model.host.engine import Engine
from nl2code_model.host.guard import LOOPBACK_NAMES
from nl2code_model.host.llamacpp import LlamaCpp
from nl2code_model.host.serve import Options, listen
from nl2code_model.host.torch_engine import TorchEngine
from nl2code_model.models.catalog import Located
from nl2code_server.endpoint import ChatRequest, Delta, Endpoint, Usage
from nl2code_server.endpoint.client import ChatClient

TOKEN = "correct-horse"


@dataclass
class Running:
    host: Host
    http: httpx2.AsyncClient
    port: int

    async def ask(self, **fields: Any) -> httpx2.Response:
        return await self.http.post("/v1/chat/completions", json=body(**fields))

    async def metric(self, name: str) -> float:
        for line in (await self.http.get("/metrics")).text.splitlines():
            if line.startswith(f"nl2code_{name} "):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no metric {name}")


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}], **fields}


@asynccontextmanager
async def running(engine: Engine, *, queue_limit: int = 8) -> AsyncIterator[Running]:
    host = Host(engine, queue_limit=queue_limit)
    app = host.app(token=TOKEN, names=LOOPBACK_NAMES)
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_level="critical"))
    listener = listen(Options())
    port = listener.getsockname()[1]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    base = f"http://127.0.0.1:{port}"
    await until(lambda: server.started)
    try:
        async with httpx2.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=10) as http:
            yield Running(host, http, port)
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, 10)
        listener.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def events(text: str) -> list[dict[str, Any]]:
    """Read a whole event stream, which must end as agreed."""
    data = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert data.pop() == "[DONE]"
    return [json.loads(item) for item in data]


# --- who may talk to it ---


def by_llama_cpp(folder: Path) -> Engine:
    import gguf

    file = folder / "m.gguf"
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_context_length(64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return LlamaCpp(Located("m", file, None), threads=1)


def by_torch(folder: Path) -> Engine:
    return TorchEngine(str(folder), device="cpu")


# The real ones are not started: whatever comes through to them fails.
ENGINES: dict[str, Callable[[Path], Engine]] = {
    "fake": lambda _: FakeEngine(),
    "llamacpp": by_llama_cpp,
    "torch": by_torch,
}
ROUTES = host_routes()


def test_the_routes_are_found() -> None:
    assert {("POST", "/v1/chat/completions"), ("GET", "/health"), ("POST", "/shutdown")} <= {*ROUTES}
    assert ("GET", "/docs") in ROUTES and ("OPTIONS", "/shutdown") in ROUTES


@pytest.mark.parametrize("name", ENGINES)
async def test_no_route_answers_without_the_token(name: str, tmp_path: Path) -> None:
    engine = ENGINES[name](tmp_path)
    async with running(engine) as host:
        del host.http.headers["authorization"]
        for given in (None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
            headers = {} if given is None else {"Authorization": given}
            for method, path in ROUTES:
                response = await host.http.request(method, path, headers=headers, json=body())
                assert response.status_code == 401, (given, method, path)
                if method != "HEAD":
                    assert response.json()["error"]["code"] == "invalid_api_key"
        assert not isinstance(engine, FakeEngine) or not engine.asked
        assert not host.host.stopping.is_set()


@pytest.mark.parametrize("name", ENGINES)
async def test_other_host_names_are_refused(name: str, tmp_path: Path) -> None:
    names = ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1", "localhost@evil")
    async with running(ENGINES[name](tmp_path)) as host:
        for other in names:
            for method, path in ROUTES:
                response = await host.http.request(method, path, headers={"Host": other}, json=body())
                assert response.status_code == 403, (other, method, path)
        for mine in ("localhost", "LOCALHOST:1", "[::1]:80"):
            assert (await host.http.get("/v1/models", headers={"Host": mine})).status_code == 200, mine


@pytest.mark.parametrize("name", ENGINES)
async def test_web_pages_of_other_sites_are_refused(name: str, tmp_path: Path) -> None:
    others = ("https://evil.example", "null", "", "http://localhost.evil.example")
    async with running(ENGINES[name](tmp_path)) as host:
        for origin in others:
            for method, path in ROUTES:
                response = await host.http.request(method, path, headers={"Origin": origin}, json=body())
                assert response.status_code == 403, (origin, method, path)
                assert "access-control-allow-origin" not in response.headers
        for origin in ("http://localhost:3000", "http://127.0.0.1"):
            response = await host.http.get("/v1/models", headers={"Origin": origin})
            assert response.status_code == 200, origin
            assert "access-control-allow-origin" not in response.headers
        assert not host.host.stopping.is_set()


# --- what it answers ---


async def test_models_health_and_unknown_routes() -> None:
    engine = FakeEngine()
    async with running(engine) as host:
        (model,) = (await host.http.get("/v1/models")).json()["data"]
        assert (model["id"], model["owned_by"], model["max_model_len"]) == ("fake-model", "nl2code", 100)
        health = await host.http.get("/health")
        assert (health.status_code, health.json()["status"], health.json()["engine"]) == (200, "ok", "fake")
        engine.failure = "it fell over"
        health = await host.http.get("/health")
        assert (health.status_code, health.json()["failure"]) == (503, "it fell over")
        for path in ("/v1/completions", "/x"):
            response = await host.http.get(path)
            assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


async def test_a_whole_answer() -> None:
    async with running(FakeEngine()) as host:
        answer = (await host.ask(n=2, logprobs=True)).json()
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["".join(DEFAULT_SCRIPT)] * 2
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert all(choice["finish_reason"] == "stop" for choice in answer["choices"])
    assert sum(entry["logprob"] for entry in answer["choices"][1]["logprobs"]["content"]) == -3.0
    assert answer["usage"]["completion_tokens"] == 12


async def test_a_streamed_answer() -> None:
    async with running(FakeEngine()) as host:
        response = await host.ask(stream=True, max_tokens=3, stream_options={"include_usage": True})
        assert response.headers["content-type"].startswith("text/event-stream")
        *chunks, usage = events(response.text)
        assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == list(DEFAULT_SCRIPT[:3])
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "length"]
        assert usage["choices"] == []
        assert usage["usage"]["completion_tokens"] == 3
        assert all("usage" not in chunk for chunk in events((await host.ask(stream=True)).text))


async def test_our_own_client_understands_it() -> None:
    async with running(FakeEngine()) as host:
        client = ChatClient(Endpoint(f"http://127.0.0.1:{host.port}/v1", TOKEN), request_timeout=10)
        request = ChatRequest(({"role": "user", "content": "hi"},), prefill="```python\n", n=2, logprobs=True)
        assert (await client.capabilities()).server == "nl2code"
        async with aclosing(client.stream(request)) as stream:
            pieces = [piece async for piece in stream]
        await client.close()
        assert host.host.engine.asked[0].prefill == "```python\n"  # type: ignore[attr-defined]
    for index in (0, 1):
        own = [piece for piece in pieces if isinstance(piece, Delta) and piece.index == index]
        assert "".join(piece.text for piece in own) == "".join(DEFAULT_SCRIPT)
        assert sum(piece.logprob or 0 for piece in own) == -3.0
    assert pieces[-1] == Usage(1, 12)


async def test_bad_requests_are_told_why_and_reach_no_engine() -> None:
    engine = FakeEngine()
    async with running(engine) as host:
        wrong: list[dict[str, Any]] = [{"temprature": 1}, {"model": "gpt-4"}, {"messages": []}, {"n": 99}]
        for fields in wrong:
            response = await host.ask(**fields)
            assert response.status_code == 400
            assert response.json()["error"]["type"] == "invalid_request_error"
            assert response.json()["error"]["param"] == next(iter(fields))
        response = await host.http.post("/v1/chat/completions", content=b"x" * (5 << 20))
        assert response.json()["error"]["code"] == "body_too_large"
        assert (await host.http.get("/v1/chat/completions")).status_code == 405
        assert await host.metric('requests_total{outcome="refused"}') == 5
    assert not engine.asked


async def test_a_prompt_longer_than_the_context_is_refused_with_both_counts() -> None:
    async with running(FakeEngine(context=3)) as host:
        for stream in (False, True):
            response = await host.ask(messages=[{"role": "user", "content": "a b c d"}], stream=stream)
            assert response.status_code == 400
            error = response.json()["error"]
            assert (error["type"], error["code"]) == ("exceed_context_size_error", "context_length_exceeded")
            assert (error["n_prompt_tokens"], error["n_ctx"]) == (4, 3)


async def test_an_engine_that_breaks_down_ends_the_request_with_its_reason() -> None:
    engine = FakeEngine(fail_after=2)
    async with running(engine) as host:
        whole = await host.ask()
        assert (whole.status_code, whole.headers["retry-after"]) == (503, "2")
        assert "the fake broke down" in whole.json()["error"]["message"]
        streamed = await host.ask(stream=True)
        *_, last = [line for line in streamed.text.splitlines() if line]
        assert "the fake broke down" in json.loads(last.removeprefix("data: "))["error"]["message"]
        engine.fail_after = None
        assert (await host.ask()).status_code == 200
        assert await host.metric('requests_total{outcome="failed"}') == 2


async def test_a_defect_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    async with running(FakeEngine(delay="soon")) as host:  # type: ignore[arg-type]
        response = await host.ask()
    assert response.status_code == 500
    assert "internal error" in response.json()["error"]["message"]
    assert "TypeError" in caplog.text


# --- who is served when, and for how long ---


async def test_leaving_a_stream_stops_the_generation() -> None:
    engine = FakeEngine(script=("x",) * 1000, delay=0.01)
    async with running(engine) as host:
        async with host.http.stream("POST", "/v1/chat/completions", json=body(stream=True)) as response:
            lines = response.aiter_lines()
            for _ in range(4):
                await anext(lines)
        await until(lambda: engine.open == 0)
        assert engine.counts.generated_tokens < 20
        assert await host.metric("cancelled_total") == 1
        assert await host.metric("running") == 0


async def test_leaving_before_the_answer_stops_the_generation_too() -> None:
    engine = FakeEngine(script=("x",) * 1000, delay=0.01)
    async with running(engine) as host:
        with pytest.raises(httpx2.ReadTimeout):
            await host.http.post("/v1/chat/completions", json=body(), timeout=0.1)
        await until(lambda: engine.open == 0)
        assert engine.counts.generated_tokens < 40
        assert await host.metric("cancelled_total") == 1


async def test_leaving_the_queue_gives_the_place_to_the_next() -> None:
    engine = FakeEngine(script=("x",) * 20, delay=0.01)
    async with running(engine) as host:
        first = asyncio.create_task(host.ask(max_tokens=18))
        await until(lambda: engine.open == 1)
        leaver = asyncio.create_task(host.ask(max_tokens=17))
        await until(lambda: host.host.turns.waiting == 1)
        last = asyncio.create_task(host.ask(max_tokens=16))
        await until(lambda: host.host.turns.waiting == 2)
        leaver.cancel()
        assert (await first).status_code == (await last).status_code == 200
        assert [generation.max_tokens for generation in engine.asked] == [18, 16]


async def test_requests_take_turns_in_order_and_a_full_queue_says_when_to_come_back() -> None:
    engine = FakeEngine(script=("x",) * 20, delay=0.01)
    async with running(engine, queue_limit=2) as host:
        tasks = []
        for number in range(3):
            tasks.append(asyncio.create_task(host.ask(max_tokens=10 + number)))
            await until(lambda: engine.open + host.host.turns.waiting == len(tasks))
        refused = await host.ask()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_full")
        assert refused.headers["retry-after"] == "2"
        assert await host.metric("queued") == 2
        for task in tasks:
            assert (await task).status_code == 200
    assert [generation.max_tokens for generation in engine.asked] == [10, 11, 12]


async def test_a_client_that_stops_reading_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nl2code_model.host.completions.SEND_TIMEOUT", 0.3)
    engine = FakeEngine(script=("x" * 100_000,) * 1000)
    async with running(engine) as host:
        reader, writer = await asyncio.open_connection("127.0.0.1", host.port, limit=1024)
        payload = json.dumps(body(stream=True)).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        writer.write(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
        await reader.readline()
        await until(lambda: bool(engine.asked) and engine.open == 0)
        writer.close()
        assert engine.counts.generated_tokens < 1000


async def test_idleness_counts_from_the_end_of_the_last_answer() -> None:
    engine = FakeEngine(script=("x",) * 10, delay=0.02)
    async with running(engine) as host:
        asking = asyncio.create_task(host.ask())
        await until(lambda: engine.open == 1)
        assert host.host.idle_seconds() == 0
        await asking
        ended = time.monotonic()
        await host.http.get("/health")
        await asyncio.sleep(0.05)
        assert 0.05 <= host.host.idle_seconds() <= time.monotonic() - ended + 0.05


async def test_shutdown_is_asked_for_by_post() -> None:
    async with running(FakeEngine()) as host:
        assert (await host.http.get("/shutdown")).status_code == 405
        assert not host.host.stopping.is_set()
        assert (await host.http.post("/shutdown")).status_code == 202
        assert host.host.stopping.is_set()


async def test_an_engine_that_continues_no_answer_gets_none_to_continue() -> None:
    for prefill in (True, False):
        engine = FakeEngine(prefill=prefill, adapter="mine")
        async with running(engine) as host:
            client = ChatClient(Endpoint(f"http://127.0.0.1:{host.port}/v1", TOKEN), request_timeout=10)
            found = await client.capabilities()
            assert (found.server, found.prefill, found.adapter) == ("nl2code", prefill, "mine")
            request = ChatRequest(({"role": "user", "content": "hi"},), prefill="```python\n")
            async with aclosing(client.stream(request)) as pieces:
                assert [piece async for piece in pieces]
            await client.close()
        assert engine.asked[0].prefill == ("```python\n" if prefill else "")


async def test_an_adapter_is_put_in_force_and_taken_off() -> None:
    engine = FakeEngine()
    async with running(engine) as host:
        for sent, now in (({"name": "mine", "folder": "/a/b"}, "mine"), ({}, "")):
            response = await host.http.post("/adapter", json=sent)
            assert (response.status_code, response.json()) == (200, {"adapter": now})
            [entry] = (await host.http.get("/v1/models")).json()["data"]
            assert entry["adapter"] == now


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "not a JSON object"),
        (b'{"name": "x"}', 400, "together"),
        (b'{"name": "x", "folder": "relative"}', 400, "full path"),
        (b'{"name": 1, "folder": "/a"}', 400, "must be a string"),
        (b'{"path": "/a"}', 400, "unknown field"),
        (b'{"name": "refused", "folder": "/a"}', 409, "does not fit"),
    ],
)
async def test_an_adapter_that_cannot_be_used_is_told(sent: bytes, status: int, said: str) -> None:
    async with running(FakeEngine()) as host:
        response = await host.http.post("/adapter", content=sent)
    assert response.status_code == status
    assert said in response.json()["error"]["message"]


async def test_a_prompt_is_warmed_when_nobody_waits() -> None:
    engine = FakeEngine()
    async with running(engine) as here:
        answer = await here.http.post("/warm", json=body())
        assert answer.json() == {"warm": "ok"}
        assert [one.messages[0].content for one in engine.warmed] == ["hi"]
        assert (await here.http.post("/warm", json={"model": "fake-model"})).status_code == 400
        assert await here.metric('warm_requests_total{outcome="ok"}') == 1
        assert await here.metric('warm_requests_total{outcome="refused"}') == 1
        assert await here.metric('requests_total{outcome="ok"}') == 0


async def test_warming_gives_way_to_whoever_waits_for_an_answer() -> None:
    engine = FakeEngine(delay=5.0)
    async with running(engine) as here:
        warming = asyncio.create_task(here.http.post("/warm", json=body()))
        await until(lambda: engine.open == 1)
        engine.delay = 0.0
        assert (await here.ask()).status_code == 200
        assert (await warming).json() == {"warm": "cancelled"}
        assert engine.open == 0


async def test_warming_does_not_begin_beside_an_answer_and_takes_the_place_of_an_earlier_one() -> None:
    engine = FakeEngine(delay=5.0)
    async with running(engine) as here:
        first = asyncio.create_task(here.http.post("/warm", json=body()))
        await until(lambda: engine.open == 1)
        engine.delay = 0.02
        assert (await here.http.post("/warm", json=body())).json() == {"warm": "ok"}
        assert (await first).json() == {"warm": "cancelled"}
        answering = asyncio.create_task(here.ask())
        await until(lambda: engine.open == 1)
        assert (await here.http.post("/warm", json=body())).json() == {"warm": "busy"}
        assert (await answering).status_code == 200
        assert len(engine.warmed) == 2


async def test_warming_stops_when_its_client_leaves() -> None:
    engine = FakeEngine(delay=5.0)
    async with running(engine) as here:
        warming = asyncio.create_task(here.http.post("/warm", json=body()))
        await until(lambda: engine.open == 1)
        warming.cancel()
        await until(lambda: engine.open == 0)
        assert here.host.warming.outcomes["cancelled"] == 1
