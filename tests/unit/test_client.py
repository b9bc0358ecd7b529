"""The endpoint client: what it sends, what it makes of answers, how it cancels, and every way an endpoint fails."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest

from fakes.endpoint import CERTIFICATES, FakeEndpoint, Reply
from nl2code_server.endpoint import ChatRequest, Delta, Endpoint, Message, Usage
from nl2code_server.endpoint.client import ChatClient
from nl2code_server.endpoint.wire import quirks
from nl2code_server.errors import (
    EndpointError,
    EndpointProtocolError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
)

CODE = "```python\ndef gcd(a, b):\n    return a\n```"
FENCE = "```python\n"
ASK = (Message(role="user", content="write gcd"),)
KEY = "sk-4f8a9b2c7d1e6f3a"


@asynccontextmanager
async def client_of(fake: FakeEndpoint, **options: Any) -> AsyncIterator[ChatClient]:
    endpoint = Endpoint(
        fake.url, **{name: options.pop(name) for name in ("api_key", "model") if name in options}
    )
    client = ChatClient(endpoint, **{"request_timeout": 5.0, **options})
    try:
        yield client
    finally:
        await client.close()


async def ask(fake: FakeEndpoint, request: ChatRequest | None = None, **options: Any) -> list[Delta | Usage]:
    async with client_of(fake, **options) as client:
        return [piece async for piece in client.stream(request or ChatRequest(ASK))]


def texts(pieces: list[Delta | Usage], n: int = 1) -> list[str]:
    deltas = [piece for piece in pieces if isinstance(piece, Delta)]
    return ["".join(delta.text for delta in deltas if delta.index == index) for index in range(n)]


async def failure(fake: FakeEndpoint, **options: Any) -> EndpointError:
    with pytest.raises(EndpointError) as caught:
        await ask(fake, **options)
    assert "\n" not in str(caught.value)
    return caught.value


# What an answer is


async def test_an_answer_is_streamed_with_its_end_and_its_cost() -> None:
    with FakeEndpoint([CODE]) as fake:
        pieces = await ask(fake)
    assert texts(pieces) == [CODE]
    *deltas, end, usage = pieces
    assert len(deltas) > 5 and all(isinstance(delta, Delta) and delta.tokens == 1 for delta in deltas)
    assert end == Delta(0, "", None, 0, "stop")
    assert usage == Usage(prompt_tokens=3, completion_tokens=len(deltas))


async def test_text_split_inside_characters_arrives_whole() -> None:
    text = "# 最大公约数 🧮 é\n"
    with FakeEndpoint([Reply(text=text, write_size=1)]) as fake:
        assert texts(await ask(fake)) == [text]


async def test_an_answer_cut_by_length_says_so() -> None:
    with FakeEndpoint([CODE]) as fake:
        pieces = await ask(fake, ChatRequest(ASK, max_tokens=3))
    assert [piece.finish_reason for piece in pieces if isinstance(piece, Delta)][-1] == "length"


async def test_halves_of_surrogate_pairs_are_replaced_both_ways() -> None:
    chunk = '{"choices":[{"index":0,"delta":{"content":"a\\ud83cb"}}]}'
    body = f"data: {chunk}\n\ndata: [DONE]\n\n"
    with FakeEndpoint([Reply(body=body, content_type="text/event-stream")]) as fake:
        pieces = await ask(fake, ChatRequest((Message(role="user", content="x\ud83cy"),)))
        assert texts(pieces) == ["a\ufffdb"]
        assert fake.chats[0].body["messages"][0]["content"] == "x?y"


async def test_log_probabilities_are_summed_over_the_tokens_of_a_piece() -> None:
    tokens = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]
    choice = {"index": 0, "delta": {"content": "ab"}, "logprobs": {"content": tokens}}
    body = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n"
    with FakeEndpoint([Reply(body=body, content_type="text/event-stream")], owned_by="vllm") as fake:
        assert await ask(fake, ChatRequest(ASK, logprobs=True)) == [Delta(0, "ab", -2.0, 2)]


async def test_cached_tokens_are_told() -> None:
    details = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}
    llamacpp = {"usage": {"prompt_tokens": 9, "completion_tokens": 1}, "timings": {"cache_n": 8}}
    for chunk in ({"choices": [], "usage": details}, {"choices": [], **llamacpp}):
        body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        with FakeEndpoint([Reply(body=body, content_type="text/event-stream")]) as fake:
            assert await ask(fake) == [Usage(9, 1, 8)]


# What is asked


@pytest.mark.parametrize("owned_by", ["nl2code", "llamacpp", "vllm", "library", "openai", "somebody"])
async def test_every_parameter_is_sent_as_the_server_takes_it(owned_by: str) -> None:
    request = ChatRequest(
        ASK, prefill=FENCE, max_tokens=77, temperature=0.7, top_p=0.9, seed=5, stop=("a", "b"), logprobs=True
    )
    with FakeEndpoint([CODE], owned_by=owned_by) as fake:
        await ask(fake, request)
        body = fake.chats[0].body
    server = {"library": "ollama", "somebody": "unknown"}.get(owned_by, owned_by)
    quirk = quirks()[server]
    assert (body["model"], body["temperature"], body["top_p"], body["stream"]) == (
        "fake-model",
        0.7,
        0.9,
        True,
    )
    assert body["stream_options"] == {"include_usage": True}
    assert body[quirk.max_tokens] == 77 and ("max_tokens" in body) is (server != "openai")
    assert body["seed"] == 5 and body["stop"] == ["a", "b"] and "n" not in body
    assert body.get("logprobs", False) is quirk.logprobs
    assert quirk.extra.items() <= body.items()
    assert (body["messages"][-1] == {"role": "assistant", "content": FENCE}) is bool(quirk.prefill)
    assert body.get("continue_final_message", False) is (server == "vllm")
    assert body.get("add_generation_prompt", True) is (server != "vllm")


async def test_no_more_stop_texts_are_sent_than_the_server_takes() -> None:
    with FakeEndpoint([CODE], owned_by="openai") as fake:
        await ask(fake, ChatRequest(ASK, stop=("1", "2", "3", "4", "5")))
        assert fake.chats[0].body["stop"] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("owned_by", "echo", "expected"),
    [
        ("nl2code", False, CODE.removeprefix(FENCE)),
        ("llamacpp", True, CODE.removeprefix(FENCE)),
        ("vllm", True, CODE.removeprefix(FENCE)),
        ("openai", False, CODE),
    ],
)
async def test_the_prefill_is_never_part_of_the_answer_unless_the_model_says_it(
    owned_by: str, echo: bool, expected: str
) -> None:
    with FakeEndpoint([Reply(text=CODE, echo=echo)], owned_by=owned_by, prefill=True) as fake:
        async with client_of(fake) as client:
            assert (await client.capabilities()).prefill is (owned_by != "openai")
        pieces = await ask(fake, ChatRequest(ASK, prefill=FENCE))
    assert texts(pieces) == [expected]
    assert sum(piece.tokens for piece in pieces if isinstance(piece, Delta)) >= 1


async def test_an_answer_that_only_begins_like_the_prefill_is_kept() -> None:
    with FakeEndpoint(["``", "`"], owned_by="nl2code") as fake:
        assert texts(await ask(fake, ChatRequest(ASK, prefill=FENCE))) == ["``"]


async def test_several_answers_come_from_one_request_where_the_server_can() -> None:
    with FakeEndpoint([("one 1", "two 22 222")], owned_by="vllm") as fake:
        pieces = await ask(fake, ChatRequest(ASK, n=2))
        assert [chat.body["n"] for chat in fake.chats] == [2]
    assert texts(pieces, 2) == ["one 1", "two 22 222"]
    assert pieces[-1] == Usage(prompt_tokens=3, completion_tokens=8)


async def test_several_answers_are_asked_for_one_after_another_where_it_cannot() -> None:
    with FakeEndpoint(["one 1", "two 22 222"], owned_by="llamacpp") as fake:
        pieces = await ask(fake, ChatRequest(ASK, n=2, seed=40, temperature=1.0))
        assert [(chat.body.get("n"), chat.body["seed"]) for chat in fake.chats] == [(None, 40), (None, 41)]
    assert texts(pieces, 2) == ["one 1", "two 22 222"]
    assert pieces[-1] == Usage(prompt_tokens=6, completion_tokens=8)


async def test_a_server_that_counts_one_of_several_answers_is_corrected() -> None:
    chunks = [{"choices": [{"index": index, "delta": {"content": "x"}}]} for index in (0, 1, 0, 1)] + [
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    with FakeEndpoint([Reply(body=body, content_type="text/event-stream")], owned_by="vllm") as fake:
        assert (await ask(fake, ChatRequest(ASK, n=2)))[-1] == Usage(5, 4)


# What the endpoint is


async def test_capabilities_are_asked_once_unless_refreshed() -> None:
    with FakeEndpoint(owned_by="nl2code") as fake:
        fake.model_extra = {"adapter": "v7"}
        async with client_of(fake) as client:
            found = await client.capabilities()
            assert (found.model, found.server, found.prefill, found.adapter) == (
                "fake-model",
                "nl2code",
                True,
                "v7",
            )
            await client.capabilities()
            assert len(fake.requests) == 1
            fake.model = "other"
            assert (await client.capabilities(refresh=True)).model == "other"


async def test_a_server_is_known_by_its_header_too() -> None:
    with FakeEndpoint(owned_by="me") as fake:
        async with client_of(fake) as client:
            assert (await client.capabilities()).server == "unknown"
            fake.server_header = "llama.cpp"
            assert (await client.capabilities(refresh=True)).server == "llamacpp"


async def test_a_named_model_is_asked_for_even_where_models_are_not_listed() -> None:
    with FakeEndpoint([CODE]) as fake:
        fake.models_reply = Reply(status=404, body="")
        assert texts(await ask(fake, model="mine")) == [CODE]
        assert fake.chats[0].body["model"] == "mine"
        assert (await failure(fake)).fix == "Check endpoint and model"


async def test_an_endpoint_without_models_needs_a_named_one() -> None:
    with FakeEndpoint([CODE]) as fake:
        fake.models_reply = Reply(body='{"data": []}')
        error = await failure(fake)
        assert isinstance(error, EndpointProtocolError) and "set model" in error.fix
        assert texts(await ask(fake, model="mine")) == [CODE]


# Cancelling


async def test_closing_the_stream_ends_the_work_at_once() -> None:
    with FakeEndpoint(["x " * 1000], token_delay=0.01) as fake:
        async with client_of(fake) as client:
            stream = client.stream(ChatRequest(ASK, max_tokens=2000))
            for _ in range(10):
                await anext(stream)
            closed = time.monotonic()
            await stream.aclose()
            (chat,) = fake.chats
            assert await asyncio.to_thread(chat.disconnected.wait, 2)
    assert chat.disconnected_at is not None and chat.disconnected_at - closed < 0.25
    assert chat.tokens_sent <= 13
    assert not chat.finished.is_set()


@pytest.mark.parametrize("reply", [Reply(text="x", first_delay=30), Reply(text="x", header_delay=30)])
async def test_cancelling_before_the_first_token_ends_the_work_at_once(reply: Reply) -> None:
    with FakeEndpoint([reply]) as fake:
        task = asyncio.create_task(ask(fake))
        await asyncio.to_thread(fake.wait_for_chats, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(fake.chats[0].disconnected.wait, 2)


async def test_leaving_several_answers_early_asks_for_no_further_one() -> None:
    with FakeEndpoint(["x x x"], owned_by="llamacpp") as fake:
        async with client_of(fake) as client, aclosing(client.stream(ChatRequest(ASK, n=4))) as stream:
            await anext(stream)
        assert len(fake.chats) == 1


# Deadlines


@pytest.mark.parametrize(
    ("reply", "limits", "message"),
    [
        (Reply(header_delay=30), {"first_token_timeout": 0.2}, "gave no token within 0.2 s"),
        (Reply(text="x", first_delay=30), {"first_token_timeout": 0.2}, "gave no token within 0.2 s"),
        (Reply(text="x x", hang_after=1), {"token_timeout": 0.2}, "gave no further token within 0.2 s"),
        (Reply(text="x " * 99, token_delay=0.05), {"request_timeout": 0.4}, "was not done within 0.4 s"),
    ],
)
async def test_each_deadline_fires(reply: Reply, limits: dict[str, float], message: str) -> None:
    with FakeEndpoint([reply]) as fake:
        started = time.monotonic()
        error = await failure(fake, **limits)
        assert time.monotonic() - started < 2
        assert isinstance(error, EndpointTimeout)
        assert error.message == f"{fake.origin} {message}"
        assert await asyncio.to_thread(fake.chats[0].disconnected.wait, 2)


@pytest.mark.parametrize("drop", [b":", b": ping\n\n", b"data"])
async def test_bytes_that_are_no_tokens_do_not_put_a_deadline_off(drop: bytes) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        if asked.startswith(b"GET"):
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{"data":[{"id":"m"}]}')
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            with suppress(ConnectionError):
                while True:
                    writer.write(drop)
                    await writer.drain()
                    await asyncio.sleep(0.02)
        writer.close()

    async with drip_server(drip) as url:
        client = ChatClient(Endpoint(url), request_timeout=5, first_token_timeout=0.3)
        started = time.monotonic()
        with pytest.raises(EndpointTimeout, match=r"gave no token within 0\.3 s"):
            await anext(client.stream(ChatRequest(ASK)))
        assert 0.3 <= time.monotonic() - started < 1.5


async def test_the_caller_s_own_time_is_not_held_against_the_endpoint() -> None:
    with FakeEndpoint(["x x x"], token_delay=0.05) as fake:
        async with client_of(fake, token_timeout=0.3) as client:
            stream = client.stream(ChatRequest(ASK))
            await anext(stream)
            await asyncio.sleep(0.5)
            assert texts([piece async for piece in stream]) == [" x x"]


async def test_a_connection_that_is_never_answered_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client gives up
        writer.close()

    async with drip_server(silent) as url:
        client = ChatClient(Endpoint(url), request_timeout=5, first_token_timeout=0.2)
        with pytest.raises(EndpointTimeout, match=r"did not list its models within 0\.2 s"):
            await client.capabilities()


async def test_a_host_that_cannot_be_connected_to_is_given_up() -> None:
    # An address of the block for documentation: no packet to it is ever answered.
    client = ChatClient(Endpoint("http://192.0.2.1:9/v1"), request_timeout=5, connect_timeout=0.2)
    with pytest.raises((EndpointTimeout, EndpointUnavailable)) as caught:
        await client.capabilities()
    assert "192.0.2.1:9" in caught.value.message and caught.value.fix


@asynccontextmanager
async def drip_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> AsyncIterator[str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await asyncio.sleep(0.1)


# Faults


@pytest.mark.parametrize(
    ("reply", "kind", "message", "fix"),
    [
        (Reply(status=401), EndpointRefused, "answered 401: scripted fault", "Check api_key"),
        (Reply(status=403), EndpointRefused, "answered 403: scripted fault", "Check api_key"),
        (Reply(status=404), EndpointRefused, "answered 404: scripted fault", "Check endpoint and model"),
        (Reply(status=429), EndpointRefused, "answered 429", "Too many requests: try again later"),
        (Reply(status=429, headers=(("Retry-After", "7"),)), EndpointRefused, "answered 429", "Try again in 7 s"),
        (Reply(status=500), EndpointRefused, "answered 500", "See the server's log"),
        (Reply(status=503, headers=(("Retry-After", "3"),)), EndpointRefused, "answered 503", "Try again in 3 s"),
        (Reply(status=502, body="<html>"), EndpointRefused, "answered 502: a web page", "See the server's log"),
        (Reply(status=400, body='{"error":{"code":400,"message":"the request exceeds the available context size"}}'),
         EndpointRefused, "exceeds the available context", "Lower context_tokens or max_tokens"),
        (Reply(status=422, body='{"detail":"unknown field"}'), EndpointRefused, "answered 422: unknown field", ""),
        (Reply(status=302, headers=(("Location", "https://evil.example/v1"),)), EndpointRefused,
         "redirects to https://evil.example, where the key must not go", "Set endpoint to the final address"),
        (Reply(body="<!doctype html>", content_type="text/html"), EndpointProtocolError, "it sent a web page", "/v1"),
        (Reply(body='{"a": 1}'), EndpointProtocolError, "it sent JSON that is no answer", "/v1"),
        (Reply(body=""), EndpointProtocolError, "it sent nothing", "/v1"),
        (Reply(body='{"error": "busy"}'), EndpointRefused, "gave up: busy", ""),
        (Reply(body="data: {\n\n", content_type="text/event-stream"), EndpointProtocolError, "not JSON", "/v1"),
        (Reply(body="data: [1]\n\n", content_type="text/event-stream"), EndpointProtocolError, "no object", "/v1"),
        (Reply(body="data: {}\n\n", content_type="text/event-stream"), EndpointProtocolError,
         "a chunk without choices", "/v1"),
        (Reply(body='data: {"choices":[{"index":3,"delta":{}}]}\n\n', content_type="text/event-stream"),
         EndpointProtocolError, "an index that was not asked for", "/v1"),
        (Reply(body='data: {"error":{"code":500,"message":"out of memory"}}\n\n', content_type="text/event-stream"),
         EndpointRefused, "gave up: out of memory", "See the server's log"),
        (Reply(text="x x x", done=False), EndpointUnavailable, "broke off in mid-answer", "Check that the server"),
        (Reply(text="x x x", cut_after=1), EndpointUnavailable, "broke: peer closed connection", "Check that"),
        (Reply(text="x x x", reset_after=1), EndpointUnavailable, "broke: ", "Check that the server runs"),
        (Reply(reset_after=-1), EndpointUnavailable, "broke: ", "Check that the server runs"),
    ],
)  # fmt: skip
async def test_each_fault_has_its_type_its_line_and_its_fix(
    reply: Reply, kind: type[EndpointError], message: str, fix: str
) -> None:
    with FakeEndpoint([reply]) as fake:
        error = await failure(fake)
        assert type(error) is kind
        assert message in error.message and fake.origin in error.message
        assert fix in error.fix
        if isinstance(error, EndpointRefused) and reply.status != 200:
            assert error.status == reply.status


async def test_nobody_there() -> None:
    with FakeEndpoint() as fake:
        pass
    error = await failure(fake)
    assert isinstance(error, EndpointUnavailable)
    assert error.message == f"Nobody answers at {fake.origin}"


@pytest.mark.parametrize("body", ["<html>", '{"models": []}', "[]", '"x"', "[" * 100_000])
async def test_a_list_of_models_that_is_none_is_told(body: str) -> None:
    with FakeEndpoint() as fake:
        fake.models_reply = Reply(body=body)
        assert isinstance(await failure(fake), EndpointProtocolError)


async def test_an_endless_answer_is_not_read_to_the_end() -> None:
    with FakeEndpoint() as fake:
        fake.models_reply = Reply(body="[" + "1," * 8_000_000 + "1]")
        assert isinstance(await failure(fake), EndpointProtocolError)


async def test_an_untrusted_certificate_is_refused() -> None:
    with FakeEndpoint(tls=True) as fake:
        error = await failure(fake, api_key=KEY)
        assert fake.requests == []
    assert isinstance(error, EndpointUnavailable)
    assert error.message == f"The certificate of {fake.origin} is not trusted: self-signed certificate"
    assert "SSL_CERT_FILE" in error.fix


@pytest.mark.parametrize(
    ("certificate", "said"),
    [("expired", "certificate has expired"), ("other", "IP address mismatch"), ("good", "")],
)
async def test_a_certificate_of_a_known_authority_is_still_looked_at(
    certificate: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
    with FakeEndpoint([CODE], tls=True, certificate=CERTIFICATES / f"{certificate}.pem") as fake:
        if not said:
            assert texts(await ask(fake, api_key=KEY)) == [CODE]
            return
        error = await failure(fake, api_key=KEY)
        assert fake.requests == []
    assert isinstance(error, EndpointUnavailable)
    assert f"The certificate of {fake.origin} is not trusted: " in error.message
    assert said in error.message


# The key


async def test_the_key_goes_to_the_origin_and_nowhere_else() -> None:
    with FakeEndpoint([CODE], key=KEY) as fake, FakeEndpoint() as elsewhere:
        assert texts(await ask(fake, api_key=KEY)) == [CODE]
        assert [request.headers["authorization"] for request in fake.requests] == [f"Bearer {KEY}"] * 2
        fake.replies = [Reply(status=307, headers=(("Location", f"{elsewhere.url}/chat/completions"),))]
        await failure(fake, api_key=KEY)
        fake.models_reply = fake.replies[0]  # type: ignore[assignment]
        await failure(fake, api_key=KEY)
        assert elsewhere.requests == []


async def test_without_a_key_none_is_sent() -> None:
    with FakeEndpoint([CODE]) as fake:
        await ask(fake)
        assert all("authorization" not in request.headers for request in fake.requests)


async def test_a_server_that_repeats_the_key_does_not_make_us_repeat_it() -> None:
    for shown in (KEY, "sk-4f8a***********6f3a"):
        body = json.dumps({"error": {"message": f"Incorrect API key provided: {shown}."}})
        with FakeEndpoint([Reply(status=401, body=body)]) as fake:
            error = await failure(fake, api_key=KEY)
            assert "Incorrect API key provided: …" in error.message and "6f3a" not in str(error)
    assert KEY not in repr(Endpoint("http://x/v1", KEY))


async def test_loopback_is_reached_without_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeEndpoint([CODE]) as fake, FakeEndpoint() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.origin)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert texts(await ask(fake)) == [CODE]
        assert proxy.requests == []


async def test_nothing_is_logged_but_by_the_http_library_at_its_own_level(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    with FakeEndpoint(["secret_answer"], key=KEY) as fake:
        await ask(fake, ChatRequest((Message(role="user", content="secret_question"),)), api_key=KEY)
    assert KEY not in caplog.text and "secret_" not in caplog.text


def test_every_kind_of_server_says_everything_about_itself() -> None:
    assert set(quirks()) == {"nl2code", "llamacpp", "vllm", "ollama", "openai", "unknown"}
    for quirk in quirks().values():
        assert quirk.prefill in ("", "assistant", "flags")
        assert quirk.stop >= 1 and quirk.max_tokens in ("max_tokens", "max_completion_tokens")
    assert math.isclose(quirks()["llamacpp"].extra["min_p"], 0.0)
