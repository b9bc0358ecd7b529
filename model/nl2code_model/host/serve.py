"""The life of a host process: lock, load, listen, be found, and leave nothing behind."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn

from nl2code_server.config import is_loopback
from nl2code_server.endpoint import runtime
from nl2code_server.errors import ConfigError, HostError
from nl2code_server.platform import lock, paths, physical_cores

from ..models.catalog import is_file_name, locate
from ..tune.registry import Registry
from .app import Host
from .engine import Engine
from .guard import LOOPBACK_NAMES

log = logging.getLogger(__name__)

QUEUE_LIMIT = 32
LOCK_TIMEOUT = 1.0
GRACE = 1  # seconds for answers under way when the host is told to end


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a host is asked to be; `engine`, `model` and `device` as asked for, `auto` included."""

    engine: str = "auto"
    model: str = "auto"
    device: str = "auto"
    host: str = "127.0.0.1"
    port: int = 0
    token: str = ""
    idle_exit: int = 0
    threads: int = 0
    context: int = 0
    dtype: str = "auto"
    tls_cert: Path | None = None
    tls_key: Path | None = None


def run(options: Options, on_ready: Callable[[runtime.Record], None]) -> None:
    """Run a host until it is told to end, or idle for too long; raise `Nl2CodeError` if it cannot be."""
    _check_exposure(options)
    run_engine(options, choose_engine(options), on_ready)


def run_engine(options: Options, engine: Engine, on_ready: Callable[[runtime.Record], None]) -> None:
    """Do so with this engine, the only host of its key on this machine."""
    key = runtime.key(options.engine, options.model, options.device)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock(paths().runtime / f"host-{key}.running", timeout=LOCK_TIMEOUT))
        except TimeoutError as error:
            record = runtime.read(key)
            where = f" at {record.url} (process {record.pid})" if record else ""
            raise HostError(f"such a host runs already{where}", "run: nl2code host stop") from error
        listener = stack.enter_context(listen(options))
        asyncio.run(_run(options, engine, key, listener, on_ready))


def choose_engine(options: Options) -> Engine:
    """Return the engine asked for, not started yet."""
    if options.engine == "torch" or (options.engine == "auto" and _wants_torch(options)):
        from .torch_engine import TorchEngine

        return TorchEngine(
            options.model,
            device=options.device,
            dtype=options.dtype,
            threads=options.threads or physical_cores(),
            context=options.context,
        )
    if options.dtype != "auto":
        raise ConfigError("the llamacpp engine computes in the file's own format", "leave --dtype out")
    if options.device not in ("auto", "cpu"):
        raise ConfigError(f"the llamacpp engine does not run on {options.device}", "use --device cpu")
    try:
        import xllamacpp  # noqa: F401
    except ImportError as error:
        raise HostError(
            f"the llamacpp engine is not installed: {error}", 'run: pip install "nl2code[local]"'
        ) from error
    from .llamacpp import LlamaCpp

    located = locate(options.model)
    threads = options.threads or physical_cores()
    return LlamaCpp(located, threads=threads, context=options.context, adaptive=not options.threads)


def _wants_torch(options: Options) -> bool:
    """Whether the model, the device asked for, or a GPU with its driver and torch calls for the torch engine."""
    if options.device in ("cuda", "mps") or not is_file_name(options.model):
        return True
    gpu = any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/kfd"))
    if options.device != "auto" or not gpu:
        return False
    from .torch_load import require_libraries

    try:
        require_libraries()
    except HostError:
        return False
    return True


async def _run(
    options: Options,
    engine: Engine,
    key: str,
    listener: socket.socket,
    on_ready: Callable[[runtime.Record], None],
) -> None:
    token = options.token or secrets.token_urlsafe(24)
    host = Host(engine, queue_limit=QUEUE_LIMIT)
    names = LOOPBACK_NAMES if is_loopback(options.host) else frozenset[str]()
    config = _uvicorn_config(options, host.app(token=token, names=names))
    record = runtime.Record(
        url=f"{'https' if options.tls_cert else 'http'}://{_netloc(options.host, listener)}/v1",
        token=token,
        pid=os.getpid(),
        engine=engine.name,
        model=engine.model,
        protocol=runtime.PROTOCOL,
        key=key,
        started=time.time(),
    )

    def announce() -> None:
        told = replace(record, adapter=engine.adapter)
        runtime.write(told)
        on_ready(told)

    try:
        await engine.start()
        await _use_promoted(engine)
        # uvicorn raises a signal again once it has closed down: by then it has done its work.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        server = _Server(config, announce)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopping = asyncio.create_task(host.stopping.wait())
        while not (serving.done() or stopping.done()):
            left = options.idle_exit - host.idle_seconds()
            if options.idle_exit and left <= 0:
                break
            await asyncio.wait(
                (serving, stopping),
                timeout=left if options.idle_exit else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
        server.should_exit = True
        stopping.cancel()
        await serving
    finally:
        runtime.remove(key, record.pid)
        await engine.stop()


async def _use_promoted(engine: Engine) -> None:
    """Serve the tuned adapter that was promoted for this model, if there is one and it can be used."""
    registry = Registry(engine.model)
    try:
        if version := registry.current():
            await engine.use_adapter(version.name, version.folder)
    except HostError as error:
        log.warning("the promoted adapter is not used: %s", error)


class _Server(uvicorn.Server):
    """uvicorn, saying when it listens."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


def _uvicorn_config(options: Options, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
    )


def _check_exposure(options: Options) -> None:
    """Refuse to be reachable from other machines without both a token of the user's choice and TLS."""
    if is_loopback(options.host):
        return
    if not options.token:
        raise ConfigError(
            f"{options.host} can be reached from other machines", "give a --token, and a certificate"
        )
    if not (options.tls_cert and options.tls_key):
        raise ConfigError(
            f"{options.host} can be reached from other machines, and the token would travel in the clear",
            "give --tls-cert and --tls-key",
        )


def listen(options: Options) -> socket.socket:
    """Bind a socket, first of all: a port that is taken should not cost a model's loading."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio switches Nagle's algorithm off, and 40 ms of waiting per answer, only where the protocol is told.
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise HostError(
            f"cannot listen on {options.host} port {options.port}: {error.strerror or error}",
            "choose another --port",
        ) from error
    return listener


def _netloc(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
