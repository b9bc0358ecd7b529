"""What a model's name means, and what a model file's header may claim."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from pathlib import Path

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from nl2code_model.cli import models as commands
from nl2code_model.models import catalog as catalogs
from nl2code_model.models.catalog import HubSource, Located, Model, PackageSource, catalog, locate
from nl2code_model.models.header import read_header
from nl2code_model.models.verify import check, verify
from nl2code_server.errors import ConfigError, ModelFileError, ModelMissing
from nl2code_server.platform import paths

SMALL, LARGE = "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"


def test_every_entry_is_complete_and_its_parts_add_up() -> None:
    assert list(catalog()) == [SMALL, LARGE, "smollm2-135m"]
    for model in catalog().values():
        assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
        assert model.license == "Apache-2.0"
        assert model.sources
        for source in model.sources:
            if isinstance(source, PackageSource):
                assert (
                    (source.parts - 1) * source.part_bytes < model.bytes <= source.parts * source.part_bytes
                )
                assert source.packages.format(n=3).replace("-", "_") in source.member.format(n=3)
            else:
                assert isinstance(source, HubSource)
                assert re.fullmatch(r"[0-9a-f]{40}", source.revision)


@pytest.mark.parametrize(("cores", "chosen"), [(1, SMALL), (2, SMALL), (3, SMALL), (4, LARGE), (64, LARGE)])
def test_auto_follows_the_cores(cores: int, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogs, "physical_cores", lambda: cores)
    assert locate("auto").id == chosen


def test_auto_takes_a_smaller_model_that_is_here_already(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend_present(SMALL)
    monkeypatch.setattr(catalogs, "physical_cores", lambda: 8)
    assert locate("auto").id == SMALL
    _pretend_present(LARGE)
    assert locate("auto").id == LARGE
    monkeypatch.setattr(catalogs, "physical_cores", lambda: 2)
    assert locate("auto").id == SMALL


def test_a_file_of_ones_own_is_known_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "my-coder.gguf"
    own.write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    for name in (str(own), "my-coder.gguf", "./my-coder.gguf"):
        assert locate(name) == Located("my-coder", own, None)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=SMALL):
        locate("gpt-4")


def test_a_missing_model_says_what_to_pull_and_how_large_it_is() -> None:
    with pytest.raises(ModelMissing) as caught:
        check(locate(SMALL))
    assert (caught.value.model, caught.value.size) == (SMALL, catalog()[SMALL].bytes)
    assert f"model pull {SMALL}" in caught.value.fix


def test_a_file_is_hashed_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = gguf({"general.architecture": "tiny"})
    digest = hashlib.sha256(content).hexdigest()
    model = Model("tiny", "tiny.gguf", len(content), digest, "MIT", "", "", auto=False, sources=())
    model.path.parent.mkdir(parents=True)
    model.path.write_bytes(content)
    located = Located("tiny", model.path, model)
    check(located)
    with monkeypatch.context() as patch:
        patch.setattr("nl2code_model.models.verify._sha256", None)
        check(located)
    model.path.write_bytes(content[:-1] + b"!")
    os.utime(model.path, ns=(1, 1))
    with pytest.raises(ModelFileError, match="sha256"):
        check(located)
    model.path.write_bytes(content[:-1])
    with pytest.raises(ModelFileError, match="bytes"):
        verify(model, model.path)


def test_what_is_open_is_what_is_checked_whatever_the_path_names_by_then(tmp_path: Path) -> None:
    good, bad = gguf({"general.architecture": "tiny"}), gguf({"general.architecture": "evil"})
    assert len(good) == len(bad)
    digest = hashlib.sha256(good).hexdigest()
    model = Model("tiny", "tiny.gguf", len(good), digest, "MIT", "", "", auto=False, sources=())
    model.path.parent.mkdir(parents=True)
    located = Located("tiny", model.path, model)

    def put(content: bytes) -> None:
        beside = tmp_path / "beside"
        beside.write_bytes(content)
        beside.replace(model.path)

    put(good)
    with model.path.open("rb") as file:
        put(bad)
        assert check(located, file).architecture == "tiny"
    with pytest.raises(ModelFileError, match="sha256"):
        check(located)
    with model.path.open("rb") as file:
        put(good)
        check(located)
        with pytest.raises(ModelFileError, match="sha256"):
            check(located, file)


# --- headers ---


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(
    values: dict[str, str | int | list[str] | list[int]], *, version: int = 3, tensors: bytes = b""
) -> bytes:
    """Write a GGUF header by the format's description."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors) > 0, len(values))
    for name, value in values.items():
        out += text(name)
        if isinstance(value, str):
            out += struct.pack("<I", 8) + text(value)
        elif isinstance(value, int):
            out += struct.pack("<II", 4, value)
        elif value and isinstance(value[0], str):
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(str(item)) for item in value)
        else:
            out += struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
    return out + tensors


GOOD = gguf(
    {
        "general.architecture": "qwen2",
        "qwen2.context_length": 32768,
        "tokenizer.ggml.tokens": ["a", "<|im_start|>", "<tool>", "é"],
        "tokenizer.ggml.token_type": [1, 3, 4, 1],
        "tokenizer.chat_template": "{{ messages }}",
    },
    tensors=text("w") + struct.pack("<IQIQ", 1, 2, 0, 0),
) + bytes(8)


def header_of(content: bytes, tmp_path: Path) -> object:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    return read_header(path)


def test_a_header_tells_context_template_and_special_tokens(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(GOOD)
    header = read_header(path)
    assert (header.architecture, header.context, header.chat_template) == ("qwen2", 32768, "{{ messages }}")
    assert header.control_tokens == {"<|im_start|>": 1}
    assert header.user_defined_tokens == {"<tool>": 2}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GG",
        b"<!DOCTYPE html><html>sign in</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"GGUF" + struct.pack("<I", 99),
        b"GGUF" + struct.pack("<IQQ", 3, 2**63, 1),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62) + b"x",
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 2**61),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 0, 2**61),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1) * 50,
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 77),
        gguf({"general.name": "no architecture"}),
        gguf({"general.architecture": "x"}, tensors=text("w") + struct.pack("<I", 2**31)),
        gguf({"general.architecture": "x"}, tensors=text("w") + struct.pack("<IQIQ", 1, 2, 0, 2**50)),
    ],
)
def test_what_is_no_model_file_is_refused_with_a_reason(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"is not a model file that can be used: \w"):
        header_of(content, tmp_path)


@pytest.mark.parametrize("length", range(0, len(GOOD) - 8, 7))
def test_a_header_cut_anywhere_is_refused(length: int, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        header_of(GOOD[:length], tmp_path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=9))
def test_a_damaged_header_is_read_or_refused_and_nothing_else(tmp_path: Path, at: int, damage: bytes) -> None:
    try:
        header_of(GOOD[:at] + damage + GOOD[at + len(damage) :], tmp_path)
    except ModelFileError as error:
        assert error.fix


# --- commands ---


def run(*args: str) -> tuple[int, str]:
    app = typer.Typer()
    commands.register(app)
    result = CliRunner().invoke(app, ["model", *args])
    return result.exit_code, result.stdout


def test_commands_print_json() -> None:
    code, out = run("list", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["id"] for row in rows] == list(catalog())
    assert sum(row["auto"] for row in rows) == 1
    code, out = run("path", "auto", "--json")
    described = json.loads(out)
    assert code == 0
    assert described.keys() == {"id", "path", "present", "bytes"}
    assert (described["present"], described["path"]) == (
        False,
        str(paths().models / catalog()[described["id"]].file),
    )


def test_verify_and_remove_fail_where_there_is_nothing() -> None:
    code, out = run("verify", SMALL, "--json")
    assert (code, json.loads(out)["ok"]) == (1, False)
    assert run("remove", SMALL)[0] == 1


def test_a_failed_pull_ends_its_json_with_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nl2code_model.models.pull.free_bytes", lambda _: 0)
    code, out = run("pull", SMALL, "--json")
    last = json.loads(out.splitlines()[-1])
    assert code == 1
    assert last["event"] == "error"
    assert last["message"]
    assert last["fix"]


def _pretend_present(name: str) -> None:
    """Put a file of the right size in a model's place, all holes."""
    path = catalog()[name].path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(catalog()[name].bytes)
