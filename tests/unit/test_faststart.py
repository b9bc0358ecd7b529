"""The lazily defined protocol classes are the ones that the normal import defines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

from fakes.endpoint import FakeEndpoint

DUMP = """
import inspect, json, sys
STATE = {"__getstate__", "__setstate__"}  # of classes with slots only
from nl2code_server.lsp import faststart
faststart.begin()
import attrs
from lsprotocol import converters, types as T
converters.get_converter()
out = {}
for name, cls in sorted(T.ALL_TYPES_MAP.items()):
    if isinstance(cls, type) and attrs.has(cls):
        fields = [
            (f.name, str(f.type), repr(f.default), f.kw_only, f.eq, f.init, f.repr, f.hash,
             getattr(f.validator, "__name__", str(f.validator).split(" at ")[0]), str(f.on_setattr is None))
            for f in attrs.fields(cls)
        ]
        methods = sorted(n for n, v in vars(cls).items() if callable(v) and n not in STATE)
        out[name] = [fields, str(inspect.signature(cls)), list(cls.__match_args__), cls.__hash__ is None,
                     cls.__doc__, [b.__name__ for b in cls.__mro__], methods, cls.__module__, cls.__qualname__]
json.dump(out, sys.stdout)
"""

LAZY = "from nl2code_server.lsp import faststart; faststart.begin(); from lsprotocol import types as T\n"


def run(code: str, **environment: str) -> str:
    """Run Python code in a process of its own and return what it prints."""
    env = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_class_equals_that_of_the_normal_import() -> None:
    lazy: dict[str, Any] = json.loads(run(DUMP, NL2CODE_NO_FASTSTART="0"))
    plain: dict[str, Any] = json.loads(run(DUMP, NL2CODE_NO_FASTSTART="1"))
    assert len(plain) > 500
    assert lazy.keys() == plain.keys()
    different = {name: (lazy[name], plain[name]) for name in plain if lazy[name] != plain[name]}
    assert not different, next(iter(different.items()))


def test_classes_wait_until_they_are_used() -> None:
    counted = run(
        LAZY + "n = sum(1 for c in vars(T).values() if isinstance(c, type) "
        "and type(vars(c).get('__attrs_attrs__')).__name__ == '_Trap'); print(n)\n"
    )
    assert int(counted) > 500


def test_lazy_classes_work_as_usual() -> None:
    run(
        LAZY
        + """
import attrs, copy, pickle
class Sub(T.Hover): pass
assert Sub(contents="x") == Sub(contents="x") != Sub(contents="y")
@attrs.define
class Extended(T.CompletionItem):
    extra: int = 0
item = Extended(label="a", extra=3)
assert (item.label, item.extra, item.kind) == ("a", 3, None)
here = T.Position(1, 2)
assert here == T.Position(line=1, character=2) < T.Position(1, 3)
assert pickle.loads(pickle.dumps(here)) == copy.deepcopy(here) == here
for bad in (lambda: T.Position(-1, 0), lambda: T.Position(1), lambda: setattr(here, "line", -1)):
    try:
        bad()
    except (ValueError, TypeError):
        pass
    else:
        raise SystemExit("accepted")
match T.WorkspaceFolder("u", "n"):
    case T.WorkspaceFolder(a, b):
        assert (a, b) == ("u", "n")
assert repr(T.Range(here, here)) == "1:2-1:2", repr(T.Range(here, here))
"""
    )


def test_threads_may_use_a_class_first() -> None:
    run(
        LAZY
        + """
import sys, threading
sys.setswitchinterval(1e-6)
faults = []
classes = [c for c in vars(T).values() if isinstance(c, type) and c.__name__.endswith("Options")]
start = threading.Barrier(8)
def use():
    start.wait()
    for cls in classes:
        try:
            cls()
        except TypeError as error:
            if "required" not in str(error):
                faults.append(error)
threads = [threading.Thread(target=use) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
assert len(classes) > 50 and not faults, faults[:3]
"""
    )


def test_switched_off_the_import_is_the_normal_one() -> None:
    run(
        LAZY
        + """
import gc
assert gc.isenabled()
assert hasattr(T.Position, "__slots__") and type(vars(T.Position)["__init__"]).__name__ == "function"
""",
        NL2CODE_NO_FASTSTART="1",
    )


def test_an_unknown_lsprotocol_is_imported_as_usual() -> None:
    run(
        """
import sys, types
from nl2code_server.lsp import faststart
real = faststart.importlib.import_module
def other(name):
    module = real(name)
    if name == "lsprotocol._hooks":
        return types.SimpleNamespace(_resolved_forward_references=None)
    return module
faststart.importlib.import_module = other
faststart.begin()
from lsprotocol import types as T
assert type(vars(T.Position)["__init__"]).__name__ == "function"
from pygls.lsp.server import LanguageServer
LanguageServer("x", "1")
"""
    )


def test_loaded_before_it_is_left_alone() -> None:
    run(
        "from lsprotocol import types as before\n"
        + LAZY
        + "assert before is T and type(vars(T.Hover)['__init__']).__name__ == 'function'"
    )


def test_garbage_is_collected_again_after_settling() -> None:
    run(
        LAZY
        + """
import gc
assert not gc.isenabled()
faststart.settle(); faststart.settle()
assert gc.isenabled() and gc.get_freeze_count() > 0
"""
    )


def test_tls_works_although_asyncio_began_without_it() -> None:
    with FakeEndpoint(tls=True) as fake:
        port = urlsplit(fake.url).port
        said = run(
            LAZY
            + f"""
import asyncio, sys
assert "_ssl" not in sys.modules
async def main():
    import ssl
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", {port}, ssl=context)
    writer.write(b"GET /v1/models HTTP/1.0\\r\\n\\r\\n")
    print((await reader.readline()).decode())
    writer.close()
    try:
        await asyncio.open_connection("127.0.0.1", {port}, ssl=ssl.create_default_context())
    except ssl.SSLCertVerificationError:
        print("refused")
asyncio.run(main())
import asyncio.sslproto
assert asyncio.sslproto.SSLProtocol and sys.modules["ssl"].SSLContext
"""
        )
    assert "HTTP/1" in said
    assert "refused" in said
