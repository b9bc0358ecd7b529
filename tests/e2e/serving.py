"""A real host process of the torch engine, for tests from end to end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from fakes.routes import host_routes
from nl2code_server.endpoint.runtime import Record
from nl2code_server.platform import paths


@asynccontextmanager
async def serving(model: str, *, threads: int = 1) -> AsyncIterator[Record]:
    """Run `nl2code serve` with a model by torch, where the language server of this test will look for it."""
    paths().config.mkdir(parents=True, exist_ok=True)
    settings = {"engine": "torch", "device": "cpu", "model": model}
    paths().config_file.write_text(
        "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    )
    command = [sys.executable, "-m", "nl2code_server.cli", "serve", "--json", "--threads", str(threads)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout and process.stderr
        async with asyncio.timeout(100):
            line = await process.stdout.readline()
        if not line:
            raise AssertionError((await process.stderr.read()).decode())
        yield Record(**json.loads(line))
    finally:
        if process.returncode is None:
            process.terminate()
        _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, errors.decode()
    assert b"Traceback" not in errors, errors.decode()


async def get(record: Record, path: str) -> httpx2.Response:
    """Ask a host for one of its pages."""
    headers = {"Authorization": f"Bearer {record.token}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False) as http:
        return await http.get(record.url.removesuffix("/v1") + path)


async def serves_nobody_else(record: Record) -> None:
    """Check that no route answers without the token, under another name, or to another site's page."""
    base = record.url.removesuffix("/v1")
    token = {"Authorization": f"Bearer {record.token}"}
    async with httpx2.AsyncClient(trust_env=False) as http:
        for method, route in host_routes():
            for headers, status in (
                ({}, 401),
                ({"Authorization": "Bearer wrong"}, 401),
                (token | {"Host": "evil.example"}, 403),
                (token | {"Origin": "https://evil.example"}, 403),
            ):
                answer = await http.request(method, base + route, headers=headers)
                assert answer.status_code == status, (method, route, headers)
