"""The one place where model output runs: a sandboxed Python in a process of its own, or nowhere.

The interpreter is Monty, written in Rust: it has no files, network or environment to reach, and limits on time
and memory. Where it is missing, broken or lacks what the code needs, the answer is that the code could not be run.
There is no other way to run it.
"""

from __future__ import annotations

import asyncio
import builtins
import re
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from pydantic_monty import AsyncMonty, AsyncMontySession, MontyError, ResourceLimits

Outcome = Literal["value", "raised", "stopped", "unrunnable"]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one expression."""

    outcome: Outcome
    """It has a value; the code raised an exception; a limit stopped it; or the sandbox could not run it."""
    text: str
    """`repr` of the value; `ValueError: message`; which limit; why it could not run."""
    exception: str = ""
    """Class name of the exception that was raised."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What code may use up."""

    seconds: float = 2.0
    """Running time of the code, and of each expression."""
    memory: int = 128 << 20
    """Bytes of heap."""
    recursion: int = 1000
    output: int = 1 << 20
    """Bytes printed; they are thrown away."""
    text: int = 400
    """Characters kept of a value's `repr`."""
    deadline: float = 6.0
    """Seconds of wall clock for all of it, waiting for a worker included, after which the process is killed."""


class Interpreter(Protocol):
    """Runs code that nobody has read."""

    async def run(
        self, code: str, expressions: Sequence[str], *, limits: Limits | None = None
    ) -> tuple[Result, ...]:
        """Run `code` in a fresh world, then evaluate expressions in it one after another: one result for each."""

    async def close(self) -> None:
        """End the processes. A later run starts them again."""


class Sandbox:
    """A pool of Monty workers, started at the first run. It belongs to one event loop at a time."""

    def __init__(self, binary: Path | None = None, processes: int = 2) -> None:
        self._binary = binary
        self._processes = processes
        self._pool: AsyncMonty | None = None
        self._starting = asyncio.Lock()

    async def run(
        self, code: str, expressions: Sequence[str], *, limits: Limits | None = None
    ) -> tuple[Result, ...]:
        """See `Interpreter.run`. Never raises for what the code or the sandbox does."""
        limits = limits or Limits()
        results: list[Result] = []
        try:
            async with asyncio.timeout(limits.deadline):
                await self._run(code, expressions, limits, results)
            final = Result("unrunnable", "not reached")
        except TimeoutError:
            # Not the code's doing, its own limit is shorter: a worker hangs, or the machine is busy.
            final = Result("unrunnable", f"the sandbox did not answer within {limits.deadline:g} s")
        except ImportError:
            final = Result("unrunnable", "the sandbox (pydantic-monty) is not installed")
        except (OSError, RuntimeError) as error:
            await self.close()
            final = Result("unrunnable", f"the sandbox does not start: {error}")
        return (*results, *([final] * (len(expressions) - len(results))))

    async def close(self) -> None:
        """See `Interpreter.close`."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.__aexit__(None, None, None)

    async def _run(
        self, code: str, expressions: Sequence[str], limits: Limits, results: list[Result]
    ) -> None:
        pool = await self._started()
        from pydantic_monty import MontyCrashedError, MontyError

        try:
            async with pool.checkout(limits=_resource_limits(limits)) as session:
                # Taken before the code has a chance to define a function of that name.
                await session.feed_run("_nl2code_repr = repr")
                failure = await _feed(session, f"{code}\nNone", code, limits)
                if isinstance(failure, Result):
                    results.extend([failure] * len(expressions))
                    return
                for expression in expressions:
                    source = f"_nl2code_repr((\n{expression}\n))[:{limits.text + 1}]"
                    value = await _feed(session, source, code, limits)
                    if isinstance(value, Result):
                        results.append(value)
                        if value.outcome == "stopped":  # leaves a heap that nothing can be said about
                            return
                    else:
                        results.append(Result("value", _clip(value, limits.text)))
        except MontyCrashedError as error:
            hung = Result("stopped", f"no result within {limits.seconds:g} s")
            final = hung if error.timed_out else Result("unrunnable", "the sandbox's process died")
            results.extend([final] * (len(expressions) - len(results)))
        except MontyError as error:
            final = Result("unrunnable", _clip(str(error), limits.text))
            results.extend([final] * (len(expressions) - len(results)))

    async def _started(self) -> AsyncMonty:
        async with self._starting:
            if self._pool is None:
                # Some 100 ms, which the event loop does not have.
                binary = self._binary or await asyncio.to_thread(_load)
                from pydantic_monty import AsyncMonty

                pool = AsyncMonty(
                    binary_path=binary,
                    max_processes=self._processes,
                    checkout_timeout=5.0,
                    request_timeout=10.0,
                    max_checkouts_per_worker=256,
                    feed_duration_limit_grace=0.5,
                )
                await pool.__aenter__()
                self._pool = pool
            return self._pool


async def _feed(session: AsyncMontySession, source: str, code: str, limits: Limits) -> str | Result:
    """Run a piece of source, after `code`: its value, or what went wrong without ending the session."""
    from pydantic_monty import CollectString, MontyRuntimeError, MontySyntaxError

    try:
        # Without a collector the output would go to our stdout, which belongs to the wire.
        value = await session.feed_run(source, print_callback=CollectString(limits.output))
    except MontySyntaxError as error:
        return Result("unrunnable", f"the sandbox cannot read it: {_clip(str(error), limits.text)}")
    except MontyRuntimeError as error:
        frames = error.traceback()
        line = (frames[-1].source_line or "").strip() if frames else ""
        return _judge(error, code, line, limits)
    return str(value)


def _judge(error: MontyError, code: str, line: str, limits: Limits) -> Result:
    """Tell the code's own mistakes from the limits, and both from what the sandbox lacks.

    `line` is where the exception was raised.
    """
    name = type(error.exception()).__name__
    message = str(error).removeprefix(f"{name}: ")
    text = _clip(str(error), limits.text)
    if line.startswith(("raise", "assert")):
        return Result("raised", text, name)
    if name == "TimeoutError" and "limit exceeded" in message:
        return Result("stopped", f"no result within {limits.seconds:g} s")
    if name == "MemoryError" and "limit exceeded" in message:
        return Result("stopped", "too much memory or output")
    lack = _lack(name, message, code, line)
    return Result("unrunnable", lack) if lack else Result("raised", text, name)


def _lack(name: str, message: str, code: str, line: str) -> str:
    """Name what the sandbox lacks compared with CPython, if that is what this exception is about."""
    if name == "NotImplementedError":
        _, _, feature = message.partition("does not yet support ")
        return f"the sandbox does not support {feature} yet" if feature else ""
    if name in ("ModuleNotFoundError", "ImportError"):
        return f"the sandbox cannot import it: {message}"
    if "not supported in this environment" in message or "Internal error in monty" in message:
        return f"the sandbox lacks it: {message}"
    if name == "PermissionError" and message.startswith("Permission denied: "):
        return "it uses files, which the sandbox does not have"
    if name == "NameError" and (match := re.match(r"name '(\w+)' is not defined", message)):
        return f"the sandbox has no {match[1]}()" if hasattr(builtins, match[1]) else ""
    if name == "AttributeError":
        return _lacking_attribute(message, code)
    if name == "TypeError" and "' object is not an iterator" in message and " for " in code:
        return "the sandbox has no lazy generators"
    if name == "TypeError" and message.startswith("can only concatenate list") and "+=" in line:
        return "the sandbox extends lists by lists only"
    return ""


def _lacking_attribute(message: str, code: str) -> str:
    if re.match(r"module '[\w.]+' has no attribute", message):
        return f"the sandbox lacks it: {message}"
    match = re.match(r"(?:type object )?'([\w.]+)'(?: object)? has no attribute '(\w+)'", message)
    if match is None or re.search(rf"\bclass\s+{re.escape(match[1])}\b", code):
        return ""
    kind = getattr(builtins, match[1], None)
    # A type that is neither the code's nor a builtin comes from the standard library, which the sandbox has in part.
    known = kind is None and match[1] not in ("NoneType", "function", "builtin_function_or_method")
    return f"the sandbox lacks {match[1]}.{match[2]}" if known or hasattr(kind, match[2]) else ""


def _resource_limits(limits: Limits) -> ResourceLimits:
    return {
        "max_feed_duration_secs": limits.seconds,
        "max_memory": limits.memory,
        "max_recursion_depth": limits.recursion,
        "max_suspensions": 100,
        "max_total_sleep_secs": limits.seconds,
    }


def _load() -> Path:
    import pydantic_monty  # noqa: F401

    return _worker_binary()


def _worker_binary() -> Path:
    """Return the worker that our own environment installed; PATH could name anything."""
    name = "monty" + (sysconfig.get_config_var("EXE") or "")
    for scheme in (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")):
        binary = Path(sysconfig.get_path("scripts", scheme), name)
        if binary.is_file():
            return binary
    raise FileNotFoundError("its worker program (pydantic-monty-runtime) is not installed")


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "…"
