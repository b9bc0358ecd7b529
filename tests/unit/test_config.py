"""Settings: precedence, messages for what cannot be used, and what an editor must not set."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from nl2code_server.config import SETTINGS, Settings, allowed, base_url, is_loopback, load
from nl2code_server.errors import ConfigError
from nl2code_server.platform import paths

KEY = "sk-proj-4f8a9b2c7d1e6f3a"


def write_file(text: str | bytes) -> Path:
    path = paths().config_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_without_any_configuration_every_value_is_the_default() -> None:
    loaded = load()
    assert loaded.settings == Settings()
    assert loaded.problems == ()
    assert set(loaded.sources) == {setting.name for setting in fields(Settings)}
    assert set(loaded.sources.values()) == {"default"}


def test_each_layer_overrides_the_ones_before() -> None:
    layers: list[dict[str, Any]] = [
        {"editor": {"mode": "marker"}},
        {"environ": {"NL2CODE_MODE": "auto"}},
        {"flags": {"mode": "manual"}},
    ]
    write_file('mode = "manual"')
    expected = [("marker", "editor"), ("auto", "environment"), ("manual", "flag")]
    assert load().settings.mode == "manual"
    asked: dict[str, Any] = {}
    for layer, (value, source) in zip(layers, expected, strict=True):
        asked |= layer
        loaded = load(**asked)
        assert (loaded.settings.mode, loaded.sources["mode"]) == (value, source)
        assert loaded.problems == ()


def test_a_bad_value_is_named_and_the_rest_is_kept() -> None:
    path = write_file('mode = "manul"\nthreads = "4"\nmax_tokens = 5\nverify = 1\ncandidates = 3\n')
    loaded = load()
    assert loaded.settings == Settings(candidates=3)
    assert list(loaded.problems) == [
        f"mode in {path} must be auto, marker, manual, not 'manul': did you mean manual?; its value is not used",
        f"threads in {path} must be 0 to 1024, not '4'; its value is not used",
        f"max_tokens in {path} must be 16 to 8192, not 5; its value is not used",
        f"verify in {path} must be true, false, not 1; its value is not used",
    ]


def test_a_bad_value_leaves_the_good_one_of_a_lower_layer() -> None:
    write_file("candidates = 2")
    loaded = load(environ={"NL2CODE_CANDIDATES": "many"})
    assert (loaded.settings.candidates, loaded.sources["candidates"]) == (2, "file")
    assert "NL2CODE_CANDIDATES must be 1 to 8, not 'many'" in loaded.problems[0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"environ": {"NL2CODE_ENPOINT": "x"}}, "NL2CODE_ENPOINT is not a setting (did you mean endpoint?)"),
        ({"flags": {"max-token": 5}}, "--max-token is not a setting (did you mean max_tokens?)"),
        ({"editor": {"Candidates": 3}}, "Candidates in the editor's settings is not a setting (did you mean"),
        ({"editor": {"zzz": 3}}, "zzz in the editor's settings is not a setting (known: endpoint, api_key, "),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known(asked: dict[str, Any], message: str) -> None:
    (problem,) = load(**asked).problems
    assert problem.startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("mode = ", "is not valid TOML, none of it is used: Invalid value (at end of document)"),
        (b"mode = '\xff'", "is not UTF-8 text, none of it is used"),
    ],
)
def test_an_unusable_file_is_one_problem(content: str | bytes, message: str) -> None:
    path = write_file(content)
    loaded = load()
    assert loaded.settings == Settings()
    assert loaded.problems == (f"{path} {message}",)


def test_a_folder_in_the_file_s_place_is_one_problem() -> None:
    paths().config_file.mkdir(parents=True)
    (problem,) = load().problems
    assert problem == f"{paths().config_file} cannot be read: Is a directory"


def test_a_named_file_that_does_not_exist_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NL2CODE_CONFIG", str(tmp_path / "mine.toml"))
    assert load().problems == (f"{tmp_path / 'mine.toml'} does not exist (NL2CODE_CONFIG names it)",)
    (tmp_path / "mine.toml").write_text("candidates = 4")
    assert load().settings.candidates == 4


@pytest.mark.parametrize(
    "name", [name for name, setting in SETTINGS.items() if not setting.metadata["editor"]]
)
def test_an_editor_cannot_set_what_a_cloned_repository_must_not(name: str) -> None:
    value = {"int": 77, "bool": False}.get(str(SETTINGS[name].type), "/evil/llamacpp")
    loaded = load(editor={name: value, "candidates": 2})
    assert loaded.settings == Settings(candidates=2)
    (problem,) = loaded.problems
    assert problem.startswith(f"{name} in the editor's settings is refused")
    assert f"NL2CODE_{name.upper()}" in problem and str(paths().config_file) in problem
    assert "evil" not in problem


def test_taste_is_all_that_an_editor_may_set() -> None:
    taste = {name for name, setting in SETTINGS.items() if setting.metadata["editor"]}
    assert taste == {"mode", "surface", "comment", "candidates", "verify"}


def test_files_of_the_working_folder_set_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "cloned"
    (repository / ".vscode").mkdir(parents=True)
    for name in ("config.toml", "nl2code.toml", "pyproject.toml", ".nl2code.toml"):
        (repository / name).write_text(
            'endpoint = "http://evil.example/v1"\n[tool.nl2code]\nmode = "manual"\n'
        )
    (repository / ".env").write_text("NL2CODE_ENDPOINT=http://evil.example/v1\n")
    (repository / ".vscode/settings.json").write_text(json.dumps({"nl2code.endpoint": "http://evil.example"}))
    monkeypatch.chdir(repository)
    assert load() == load(environ={})
    assert load().settings == Settings()


@pytest.mark.parametrize(
    "asked",
    [
        {"environ": {"NL2CODE_API_KEY": f"{KEY} {KEY}"}},
        {"environ": {"NL2CODE_API_KEY": f"{KEY}\nX-Evil: 1"}},
        {"environ": {"NL2CODE_ENDPOINT": KEY}},
        {"environ": {"NL2CODE_ENDPOINT": f"https://me:{KEY}@host/v1"}},
        {"environ": {"NL2CODE_ENDPOINT": f"https://host/v1?key={KEY}"}},
        {"environ": {"NL2CODE_ENGINE": KEY}},
        {"environ": {"NL2CODE_THREADS": KEY}},
        {"environ": {f"NL2CODE_{KEY}": "x"}},
        {"editor": {KEY: "x"}},
        {"editor": {"api_key": KEY}},
        {"editor": {"mode": {"api_key": KEY}}},
    ],
)
def test_a_pasted_key_is_never_repeated(asked: dict[str, Any]) -> None:
    loaded = load(**asked)
    assert len(loaded.problems) == 1
    assert KEY.lower() not in loaded.problems[0].lower()
    assert "\n" not in loaded.problems[0]
    assert loaded.settings == Settings()


def test_a_good_key_is_stripped_and_kept_out_of_the_settings_repr() -> None:
    loaded = load(environ={"NL2CODE_API_KEY": f" {KEY}\n"})
    assert loaded.problems == ()
    assert loaded.settings.api_key == KEY
    assert KEY not in repr(loaded)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("YES", True), ("on", True), ("0", False), ("False", False), ("off", False)],
)
def test_words_for_yes_and_no_in_variables(text: str, value: bool) -> None:
    assert load(environ={"NL2CODE_VERIFY": text}).settings.verify is value


def test_an_empty_variable_and_a_missing_flag_count_as_not_set() -> None:
    write_file('model = "smollm2-135m"')
    loaded = load(environ={"NL2CODE_MODEL": ""}, flags={"model": None})
    assert loaded.settings.model == "smollm2-135m"


def test_variables_that_are_no_settings() -> None:
    names = ("HOME", "CONFIG", "MODELS", "HOST_TOKEN")
    assert load(environ={f"NL2CODE_{name}": "/a" for name in names}) == load()


def test_paths_are_full_unless_typed_as_a_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert load(environ={"NL2CODE_DATABASE": "~/f.db"}).settings.database == "/home/me/f.db"
    assert load(flags={"database": "f.db"}).settings.database == str(tmp_path / "f.db")
    assert load(flags={"model": "./m.gguf"}).settings.model == str(tmp_path / "m.gguf")
    for name in ("database", "log_file", "python", "model"):
        loaded = load(environ={f"NL2CODE_{name.upper()}": "./here.gguf"})
        assert loaded.settings == Settings()
        assert "full path" in loaded.problems[0]


def test_names_that_look_like_paths_but_are_none() -> None:
    loaded = load(environ={"NL2CODE_PYTHON": "python3.12", "NL2CODE_MODEL": "Qwen/Qwen2.5-Coder-7B-Instruct"})
    assert loaded.problems == ()
    assert loaded.settings.python == "python3.12"
    assert loaded.settings.model == "Qwen/Qwen2.5-Coder-7B-Instruct"


@pytest.mark.parametrize(
    ("pasted", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/chat/completions", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/chat/completions/", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/models", "http://127.0.0.1:8000/v1"),
        ("localhost:11434", "http://localhost:11434/v1"),
        ("127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("0.0.0.0:8000", "http://0.0.0.0:8000/v1"),
        ("[::1]:8000", "http://[::1]:8000/v1"),
        ("api.openai.com", "https://api.openai.com/v1"),
        ("gpu-box:8000", "https://gpu-box:8000/v1"),
        ("http://gpu-box:8000", "http://gpu-box:8000/v1"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "https://generativelanguage.googleapis.com/v1beta/openai",
        ),
        ("  HTTPS://Host.Example/V1 ", "https://host.example/V1"),
    ],
)
def test_the_base_url_is_made_from_what_people_paste(pasted: str, url: str) -> None:
    assert base_url(pasted) == url


@pytest.mark.parametrize(
    "pasted",
    [
        "",
        "word",
        "ftp://host",
        "http://",
        "http://a b/",
        "http://host:99999",
        "http://[::1",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_url_is_refused(pasted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        base_url(pasted)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True),
        ("0.0.0.0", False), ("localhost.evil.example", False), ("127.0.0.1.evil.example", False), ("", False),
    ],
)  # fmt: skip
def test_loopback_is_certain(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_every_setting_says_what_it_is_and_takes() -> None:
    for setting in SETTINGS.values():
        assert setting.metadata["help"].endswith(".")
        assert allowed(setting)
        if setting.metadata["choices"]:
            assert setting.default in setting.metadata["choices"]


def test_a_key_is_for_the_endpoint_that_it_was_set_for() -> None:
    write_file('endpoint = "https://models.example/v1"\napi_key = "key-of-the-file"')
    assert load().settings.api_key == "key-of-the-file"
    same = load(environ={"NL2CODE_ENDPOINT": "https://models.example:443/other/v1"})
    assert same.settings.api_key == "key-of-the-file"
    for other in ("http://models.example/v1", "https://models.example:8443/v1", "https://evil.example/v1"):
        for asked in ({"environ": {"NL2CODE_ENDPOINT": other}}, {"flags": {"endpoint": other}}):
            loaded = load(**asked)
            assert (loaded.settings.endpoint, loaded.settings.api_key) == (other, "")
            assert "so the key is not sent" in loaded.problems[0]
            assert "key-of-the-file" not in str(loaded.problems)
    own = load(environ={"NL2CODE_ENDPOINT": "https://evil.example/v1", "NL2CODE_API_KEY": "another"})
    assert (own.settings.api_key, own.problems) == ("another", ())


def test_a_key_without_an_endpoint_goes_to_the_one_that_is_named() -> None:
    loaded = load(environ={"NL2CODE_API_KEY": "k1"}, flags={"endpoint": "https://models.example/v1"})
    assert (loaded.settings.api_key, loaded.problems) == ("k1", ())
