"""Time the engines of the model host: tokens per second and time to the first token, as a client sees them.

Every host is a process behind the same HTTP API, `nl2code serve` with each engine and, as their peer, llama.cpp's own
server with nothing of ours around it. They take turns, so that what else the machine does falls on all alike. The
roofline is the bandwidth of memory, read in the same rounds, over the bytes of weights that each token reads.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from statistics import median
from typing import Any

from nl2code_server.errors import HostError
from nl2code_server.platform import physical_cores

from ..models.catalog import Located, locate
from ..models.verify import check
from . import server
from .client import Chat, Host, Timing, ask
from .roofline import Memory, folder_bytes, gguf_bytes, gpu_bandwidth
from .server import Measure

ENGINES = ("llamacpp", "torch")
PEER = "llama.cpp server"
NATIVELY = "llama.cpp, built here"
TOKENS = 64
"""Length of a timed answer."""
BATCH = 4
MANY = 16
LONG = 60
"""Lines of code in the long prompt; about 400 tokens."""

MEASURES = (
    Measure("start", "spawn to ready", "s"),
    Measure("first_short", "first token, short prompt", "ms", 1e3),
    Measure("first_cold", "first token, long prompt", "ms", 1e3),
    Measure("first_warm", "first token, the same again", "ms", 1e3),
    Measure("decode", "decoding, batch 1", "tok/s"),
    Measure("candidates", f"decoding, {BATCH} candidates", "tok/s"),
    Measure("requests", f"decoding, {BATCH} requests at once", "tok/s"),
    Measure("many", f"decoding, {MANY} requests at once", "tok/s"),
)

# As it comes: its own prompt cache, its own threads' ways of waiting.
BARE = """
import json, os, secrets, sys, xllamacpp
path, model, slots, threads = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = path
params.model_alias = {model}
params.n_ctx, params.n_parallel, params.kv_unified = 8192, int(slots), True
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
params.hostnames, params.port, params.ui = ["127.0.0.1"], 0, False
key = secrets.token_urlsafe(24)
params.api_keys = [key]
params.verbosity = 0
server = xllamacpp.Server(params)
print(json.dumps({"url": server.listening_address + "/v1", "token": key, "model": model}), flush=True)
sys.stdin.read()
os._exit(0)
"""


# llama-cpp-python as pip builds it on this machine, one answer after the other: its decoding is what counts.
NATIVE = """
import json, secrets, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from llama_cpp import Llama
path, model, threads = sys.argv[1:]
llama = Llama(path, n_ctx=8192, n_threads=int(threads), n_threads_batch=int(threads), verbose=False)
key, turn = secrets.token_urlsafe(24), threading.Lock()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for index in range(body["n"]):
            with turn:
                for chunk in llama.create_chat_completion(body["messages"], stream=True,
                        max_tokens=body["max_tokens"], temperature=body["temperature"]):
                    chunk["choices"][0]["index"] = index
                    self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\\n\\n")
                    self.wfile.flush()
        self.wfile.write(b"data: [DONE]\\n\\n")
        self.close_connection = True
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
url = "http://127.0.0.1:%d/v1" % server.server_address[1]
print(json.dumps({"url": url, "token": key, "model": model}), flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class Contestant:
    """A host to time: a command that prints where it answers (`url`, `token`, `model`) once it is ready."""

    name: str
    model: str
    command: tuple[str, ...]
    weights: int = 0
    """Bytes that one token reads; 0 where that is not known."""
    bandwidth: float | None = None
    """Of the memory that its weights are in, in GB/s; None for main memory."""


@dataclass
class Result:
    """One measure of one host, by rounds, in the measure's unit."""

    contestant: Contestant
    measure: Measure
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one of the rounds."""
        return median(self.values)


def contestants(models: Sequence[str], engines: Sequence[str], device: str = "auto") -> list[Contestant]:
    """Return the hosts to time; raise `Nl2CodeError` for a model that is not here."""
    gpu = gpu_bandwidth(device) if "torch" in engines and device != "cpu" else None
    found = []
    for name in models:
        file = _file(name)
        for engine in engines:
            weights = _weights(name, file, engine)
            command = (
                *(sys.executable, "-P", "-m", "nl2code_server.cli", "serve", "--json", "--engine", engine),
                *("--model", name, "--device", device, "--threads", "0", "--idle-exit", "3600"),
            )
            bandwidth = gpu if engine == "torch" else None
            found.append(Contestant(engine, file.id if file else name, command, weights, bandwidth))
        if file and "llamacpp" in engines:
            arguments = (str(file.path), file.id, str(BATCH), str(physical_cores()))
            bare = (sys.executable, "-P", "-c", BARE, *arguments)
            found.append(Contestant(PEER, file.id, bare, gguf_bytes(file.path)))
            if "llama-cpp-python" in machine():
                native = (sys.executable, "-P", "-c", NATIVE, str(file.path), file.id, str(physical_cores()))
                found.append(Contestant(NATIVELY, file.id, native, gguf_bytes(file.path)))
    return found


def run(
    found: Sequence[Contestant], rounds: int = 5, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Time the hosts in turns and return the report; `tell` hears of the progress."""
    results = {(one, measure.key): Result(one, measure) for one in found for measure in MEASURES}
    memory, bandwidths = Memory(), []
    with ExitStack() as stack:
        hosts: dict[Contestant, Host] = {}
        for one in found:
            tell(f"{one.name}: loading {one.model}")
            hosts[one] = stack.enter_context(Host(one.name, one.command))
            results[one, "start"].values.append(hosts[one].start)
            # The first request of all loads this and that.
            asyncio.run(ask(hosts[one], [_short()], tokens=TOKENS))
        for turn in range(rounds):
            bandwidths.append(memory.bandwidth())
            # Who goes first may find the machine in another state.
            for one in found if turn % 2 == 0 else found[::-1]:
                tell(f"round {turn + 1} of {rounds}: {one.name}, {one.model}")
                for key, value in asyncio.run(_round(hosts[one])).items():
                    result = results[one, key]
                    result.values.append(value * result.measure.scale)
    return report(list(results.values()), bandwidths)


def report(results: list[Result], bandwidths: list[float]) -> dict[str, Any]:
    """Return the results as plain data: medians, ranges, ratios to the peer, parts of the roofline."""
    peers = {
        (one.contestant.model, one.measure.key): one.median for one in results if one.contestant.name == PEER
    }
    rows = []
    for result in results:
        who, key = result.contestant, result.measure.key
        peer = peers.get((who.model, key))
        ceiling = _ceiling(who, bandwidths)
        rows.append(
            {
                "model": who.model,
                "engine": who.name,
                "measure": key,
                "unit": result.measure.unit,
                "median": round(result.median, 2),
                "low": round(min(result.values), 2),
                "high": round(max(result.values), 2),
                "rounds": len(result.values),
                "ratio": round(result.median / peer, 3) if peer else None,
                "roofline": round(result.median / ceiling, 3) if key == "decode" and ceiling else None,
            }
        )
    hosts = [
        {
            "model": who.model,
            "engine": who.name,
            "bytes_per_token": who.weights or None,
            "bandwidth": who.bandwidth and round(who.bandwidth, 1),
            "roofline": round(ceiling, 1) if (ceiling := _ceiling(who, bandwidths)) else None,
        }
        for who in dict.fromkeys(result.contestant for result in results)
    ]
    read = {"median": median(bandwidths), "low": min(bandwidths), "high": max(bandwidths)}
    return {
        "bench": "decode",
        "machine": machine(),
        "memory_read": {"unit": "GB/s", **{name: round(value, 1) for name, value in read.items()}},
        "hosts": hosts,
        "results": rows,
    }


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    told = server.machine()
    versions = {}
    for package in ("xllamacpp", "llama-cpp-python", "torch", "transformers"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {name: told[name] for name in ("cpu", "cores", "load", "system", "python")} | versions


def _ceiling(who: Contestant, bandwidths: list[float]) -> float | None:
    """Return the tokens per second that bandwidth allows."""
    return 1e9 * (who.bandwidth or median(bandwidths)) / who.weights if who.weights else None


def _file(name: str) -> Located | None:
    """Return the GGUF file that a model's name means, checked; None for what torch alone can load."""
    located = locate(name)
    if located.hub or located.path.is_dir():
        return None
    check(located)
    return located


def _weights(name: str, file: Located | None, engine: str) -> int:
    if file:
        return gguf_bytes(file.path, unpacked=engine == "torch")
    from ..models.source import find

    return folder_bytes(find(name).folder)


async def _round(host: Host) -> dict[str, float]:
    """Return each measure once, in seconds and tokens per second."""
    (short,) = await ask(host, [_short()], tokens=TOKENS)
    long = _long()
    (cold,) = await ask(host, [long], tokens=4)
    (warm,) = await ask(host, [long], tokens=4)
    candidates = await ask(host, [_short()], tokens=TOKENS, n=BATCH)
    requests = await ask(host, [_short() for _ in range(BATCH)], tokens=TOKENS)
    many = await ask(host, [_short() for _ in range(MANY)], tokens=TOKENS)
    return {
        "first_short": short.first - short.sent,
        "first_cold": cold.first - cold.sent,
        "first_warm": warm.first - warm.sent,
        "decode": _rate([short]),
        "candidates": _rate(candidates),
        "requests": _rate(requests),
        "many": _rate(many),
    }


def _rate(timings: Sequence[Timing]) -> float:
    """Return the tokens per second of all answers together, from the first token on."""
    tokens = sum(timing.tokens for timing in timings) - 1
    seconds = max(timing.last for timing in timings) - min(timing.first for timing in timings)
    if tokens < TOKENS // 4 or seconds <= 0:
        raise HostError(
            f"the answers were too short to time: {tokens + 1} tokens",
            "use a model that follows instructions",
        )
    return tokens / seconds


def _short() -> Chat:
    return _chat("Write the numbers from 1 to 200 in words, one per line. Do not stop before.")


def _long() -> Chat:
    return _chat(f"{server.source(LONG)}\nWrite one more class like these.")


def _chat(text: str) -> Chat:
    """Return a chat that no cache knows: it differs from its beginning on."""
    return [
        {"role": "system", "content": f"{secrets.token_hex(6)}: you are a helpful assistant."},
        {"role": "user", "content": text},
    ]
