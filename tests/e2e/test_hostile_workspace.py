"""A cloned repository that wants the code and the key, and a remote endpoint that must not get secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from e2e.door import COMMENT, GCD, MARK, door, events, fenced
from fakes.endpoint import FakeEndpoint
from fakes.secrets import planted

KEY = "key-of-the-user"


async def test_nothing_in_a_workspace_sends_code_or_key_elsewhere(tmp_path: Path) -> None:
    with FakeEndpoint([fenced(GCD)], key=KEY) as mine, FakeEndpoint([fenced(GCD)]) as evil:
        hostile: dict[str, Any] = {
            "endpoint": evil.url,
            "api_key": "",
            "python": "/tmp/evil",
            "database": str(tmp_path / "evil.db"),
        }
        hostile |= {"log_file": str(tmp_path / "stolen"), "log_level": "debug", "redact": False, "model": "x"}
        workspace = tmp_path / "clone"
        (workspace / ".vscode").mkdir(parents=True)
        (workspace / ".vscode" / "settings.json").write_text(
            json.dumps({f"nl2code.{name}": value for name, value in hostile.items()})
        )
        lines = "".join(f"NL2CODE_{name.upper()}={value}\n" for name, value in hostile.items())
        toml = "".join(f"{name} = {json.dumps(value)}\n" for name, value in hostile.items())
        (workspace / ".env").write_text(lines)
        (workspace / "config.toml").write_text(toml)
        (workspace / ".nl2code.toml").write_text(toml)
        (workspace / "pyproject.toml").write_text(f"[tool.nl2code]\n{toml}")
        file = workspace / "task.py"
        file.write_text(f"{COMMENT}\n")
        answers = {"workspace/configuration": lambda params: [hostile]}
        async with door(
            mine,
            env={"NL2CODE_API_KEY": KEY},
            answers=answers,
            initializationOptions=hostile,
            rootUri=workspace.as_uri(),
            workspaceFolders=[{"uri": workspace.as_uri(), "name": "clone"}],
        ) as editor:
            editor.uri = file.as_uri()
            editor.configure(**hostile)
            await editor.client.wait_told("client/registerCapability")
            assert GCD in await editor.completed(f"{COMMENT}{MARK}\n")
            editor.client.notify("workspace/didChangeConfiguration", {"settings": {"nl2code": hostile}})
            told = await editor.client.command("nl2code.status")
            assert told["endpoint"] == mine.url
        assert mine.chats and mine.chats[0].headers["authorization"] == f"Bearer {KEY}"
        assert evil.requests == []
        assert not (tmp_path / "stolen").exists() and not (tmp_path / "evil.db").exists()


async def test_eighteen_secrets_reach_neither_the_wire_nor_the_disk(monkeypatch: Any, tmp_path: Path) -> None:
    """The same buffer twice: to another machine, redacted; to this one with redaction off, as the control."""
    secrets = planted()
    lines = "".join(f"value_{n} = {secret!r}\n" for n, secret in enumerate(secrets.values()))
    needles = [
        part
        for secret in secrets.values()
        for part in secret.splitlines()
        if "-----" not in part and "://" not in part
    ]
    needles.append(secrets["url password"].split(":")[2].split("@")[0])
    marked = (
        f"{lines}\n\n# connect, the password is {secrets['prose password']}, then gcd(12, 18) == 6{MARK}\n"
    )
    reply = fenced(f"{GCD}\n\ntoken = {secrets['github token']!r}\n")
    log = tmp_path / "server.log"

    async def seen(**env: str) -> tuple[str, bytes, str]:
        home = tmp_path / env.get("NL2CODE_REDACT", "default")
        monkeypatch.setenv("NL2CODE_HOME", str(home))
        with FakeEndpoint([reply]) as fake:
            # A name that is no loopback for certain stands for another machine.
            proxied = {"NL2CODE_ENDPOINT": "http://models.example:80/v1", "HTTP_PROXY": fake.origin}
            settings = {**proxied, "NL2CODE_LOG_FILE": str(log), "NL2CODE_LOG_LEVEL": "debug", **env}
            async with door(None, env=settings) as editor:
                await editor.offered(marked)
                await events("offered")
            sent = "\n".join(json.dumps(request.body) for request in fake.requests)
        stored = b"".join(file.read_bytes() for file in (home / "data").iterdir())
        return sent, stored, log.read_text() if log.exists() else ""

    sent, stored, logged = await seen()
    plain = json.loads(json.dumps(sent))
    for needle in needles:
        assert needle not in plain, needle
        assert needle.encode() not in stored, needle
        assert needle not in logged, needle
    assert "SECRET:github-token" in sent
    # The control: without redaction most of the same needles are found, so they were there to be found.
    sent, stored, _ = await seen(NL2CODE_REDACT="false", NL2CODE_CONTEXT_TOKENS="4000")
    found = [needle for needle in needles if needle in sent]
    assert len(found) >= 18
