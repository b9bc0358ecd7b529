"""Model output that would take a machine down, sent through the server: the editor must not feel it.

`pytest -s tests/e2e/test_bombs.py` prints how long a keystroke and a request took at most beside each.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from e2e.door import door, fenced
from fakes.endpoint import FakeEndpoint

BOMBS = {
    "endless loop": "    while True:\n        pass\n",
    "endless loop that catches": "    while True:\n        try:\n            while True:\n                pass\n"
    "        except BaseException:\n            pass\n",
    "endless recursion": "    return f(n) + 1\n",
    "mutual recursion": "    def g(m):\n        return f(m)\n    return g(n)\n",
    "exponential recursion": "    return f(n - 1) + f(n - 2) + f(n + 1) if n < 99 else 1\n",
    "list that grows": "    x = [n]\n    while True:\n        x += x\n",
    "list at once": "    return [0] * 10 ** 12\n",
    "text that grows": "    x = 'a'\n    while True:\n        x += x\n",
    "text at once": "    return 'a' * 10 ** 12\n",
    "dict that grows": "    x = {}\n    while True:\n        x[len(x)] = list(range(1000))\n",
    "huge power": "    return 9 ** 9 ** 9\n",
    "huge shift": "    return 1 << (1 << 62)\n",
    "huge product": "    x = 3\n    while True:\n        x *= x\n",
    "digits of a huge number": "    return len(str(7 ** 10 ** 7))\n",
    "endless output": "    while True:\n        print('x' * 10000)\n",
    "long value": "    return 'x' * 10 ** 7\n",
    "backtracking": "    import re\n    return re.match(r'(a+)+$', 'a' * 40 + 'b')\n",
    "deep value": "    x = []\n    for _ in range(10 ** 6):\n        x = [x]\n    return x\n",
    "endless iterator": "    import itertools\n    return sum(itertools.count())\n",
    "endless generator": "    def g():\n        while True:\n            yield n\n    return sum(g())\n",
    "sleep": "    import time\n    time.sleep(10 ** 6)\n",
    "sort that lies": "    return sorted(range(10 ** 9), key=lambda x: -x)\n",
    "deep nesting": "    return " + "(" * 90 + "n" + ")" * 90 + " * f(n)\n",
}
AT_ONCE = 2
OTHER = "file:///work/other.py"


def bomb(body: dict[str, Any]) -> str:
    """Answer with the bomb that the instruction names."""
    number = re.findall(r"\bf(\d+)\(3\)", body["messages"][-1]["content"])[-1]
    code = list(BOMBS.values())[int(number)]
    return fenced(f"def f{number}(n):\n" + re.sub(r"\bf\(", f"f{number}(", code))


async def test_a_keystroke_is_answered_beside_bombs() -> None:
    slowest: dict[str, float] = {}
    running: set[str] = set()
    with FakeEndpoint(bomb) as fake:
        async with door(fake, env={"NL2CODE_BUDGET_SECONDS": "4"}) as editor:
            client = editor.client
            client.open(OTHER, "y = 1\n")

            async def type_on() -> None:
                while True:
                    started = time.monotonic()
                    client.insert(OTHER, 0, "z")
                    asked = {"textDocument": {"uri": OTHER}, "position": {"line": 0, "character": 1}}
                    answer = await client.request(
                        "textDocument/inlineCompletion", {**asked, "context": {"triggerKind": 2}}, timeout=20
                    )
                    assert answer == {"items": []}
                    for name in running:
                        slowest[name] = max(slowest.get(name, 0), time.monotonic() - started)
                    await asyncio.sleep(0.02)

            async def set_off(number: int, name: str) -> None:
                uri, line = f"file:///work/bomb{number}.py", f"# square a number, e.g. f{number}(3) == 9"
                async with places:
                    running.add(name)
                    client.open(uri, f"{line}\n")
                    asked = {
                        "textDocument": {"uri": uri},
                        "position": {"line": 0, "character": len(line)},
                        "context": {"triggerKind": 2},
                    }
                    answer = await client.request("textDocument/inlineCompletion", asked, timeout=60)
                    running.discard(name)
                titles = [item["command"]["title"] for item in answer["items"]]
                # What the sandbox cannot run may be offered, as what it is.
                assert all("(valid" in title and "(verified" not in title for title in titles), (name, titles)

            places = asyncio.Semaphore(AT_ONCE)
            typing = asyncio.create_task(type_on())
            await asyncio.gather(*(set_off(number, name) for number, name in enumerate(BOMBS)))
            assert not typing.done()
            typing.cancel()
            assert len(fake.chats) >= len(BOMBS)
    assert len(slowest) >= 20
    print()
    for name, seconds in slowest.items():
        print(f"{1000 * seconds:6.1f} ms at most beside: {name}")
