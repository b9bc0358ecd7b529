"""Settings: one TOML file of the user's, `NL2CODE_*` variables, command-line flags, and taste from the editor.

An editor's settings may come from a cloned repository, and a server cannot tell. They set taste and nothing
else: never where code is sent, what is started, or what is stored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import ConfigError
from .platform import paths

VARIABLE_PREFIX = "NL2CODE_"
OTHER_VARIABLES = ("HOME", "CONFIG", "MODELS", "HOST_TOKEN")
"""Variables that are no settings: they name folders (see `platform.Paths`) and the token of `nl2code serve`."""


def _setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float = 0,
    high: float = 0,
    editor: bool = False,
    path: bool = False,
    secret: bool = False,
) -> Any:
    """Declare a setting. `editor` marks taste, which an editor (and so a cloned repository) may set."""
    return field(
        default=default,
        repr=not secret,
        metadata={"help": help, "choices": choices, "range": (low, high), "editor": editor, "path": path},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Resolved settings: every value present and checked. The field names are the keys of the TOML file."""

    endpoint: str = _setting("", "URL of an OpenAI-compatible server to use instead of the local model host.")
    api_key: str = _setting("", "Key for that endpoint; sent to its origin alone.", secret=True)
    model: str = _setting("auto", "Catalog id, path of a GGUF file, hub id, or the endpoint's model name.")
    engine: str = _setting("auto", "Engine of the local host.", choices=("auto", "llamacpp", "torch"))
    device: str = _setting("auto", "Where the model runs.", choices=("auto", "cpu", "cuda", "mps"))
    threads: int = _setting(0, "CPU threads of the model host; 0 chooses.", low=0, high=1024)
    python: str = _setting(
        "", "Python interpreter that runs the model host; empty takes the server's own.", path=True
    )
    idle_exit: int = _setting(
        1800, "Seconds without a request after which the model host ends; 0 never.", low=0, high=604800
    )
    request_timeout: int = _setting(120, "Seconds that one generation may take.", low=1, high=3600)
    max_tokens: int = _setting(512, "Longest suggestion, in tokens.", low=16, high=8192)
    budget_seconds: int = _setting(
        30, "Seconds for all answers to one instruction; 0 is no limit.", low=0, high=3600
    )
    budget_tokens: int = _setting(
        1500, "Tokens generated for one instruction, all answers together; 0 is no limit.", low=0, high=100000
    )
    context_tokens: int = _setting(
        0, "Tokens of the file in the prompt; 0 is 400 on the local host, 2000 elsewhere.", low=0, high=131072
    )
    context: str = _setting(
        "project",
        "What the model is shown besides the instruction: this file and its project, this file, or nothing.",
        choices=("project", "file", "none"),
    )
    mode: str = _setting(
        "auto",
        "What is taken for a request: any instruction comment, only marked ones, or none unasked.",
        choices=("auto", "marker", "manual"),
        editor=True,
    )
    surface: str = _setting(
        "auto", "How suggestions are offered.", choices=("auto", "inline", "popup", "both"), editor=True
    )
    comment: str = _setting(
        "keep",
        "What becomes of the instruction comment on accept.",
        choices=("keep", "docstring", "remove"),
        editor=True,
    )
    candidates: int = _setting(1, "Suggestions to make for one instruction.", low=1, high=8, editor=True)
    verify: bool = _setting(True, "Run the examples of an instruction in the sandbox.", editor=True)
    feedback: str = _setting("full", "What the feedback log keeps.", choices=("full", "no-code", "off"))
    redact: bool = _setting(True, "Remove secrets from text before it is stored or sent to another machine.")
    retention_days: int = _setting(0, "Days after which feedback is deleted; 0 keeps it.", low=0, high=36500)
    database: str = _setting("", "Path of the feedback store; empty takes the user's data folder.", path=True)
    encrypt: bool = _setting(
        False, "Encrypt the feedback store, with a key in the system's keyring; needs `nl2code[encrypted]`."
    )
    encryption_key_file: str = _setting(
        "", "File with the key, where there is no keyring; 64 hexadecimal digits.", path=True
    )
    log_file: str = _setting("", "File for the server's own log; empty is stderr.", path=True)
    log_level: str = _setting(
        "warning", "How much the server's own log tells.", choices=("error", "warning", "info", "debug")
    )


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings in force, what was wrong with those asked for, and where each value comes from."""

    settings: Settings
    problems: tuple[str, ...]
    """One line each, to be shown to the user."""
    sources: Mapping[str, str]
    """`default`, `file`, `editor`, `environment` or `flag`, by setting."""


SETTINGS: Mapping[str, Field[Any]] = {setting.name: setting for setting in fields(Settings)}


def load(
    *,
    flags: Mapping[str, Any] | None = None,
    editor: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Resolve the settings: file, then editor, environment, flags. A bad value is named and left out.

    A key is for the endpoint that was in force where the key was set; another one named later does not get it.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(SETTINGS, "default")
    key_for = ""
    file_values, problems = _read_file()
    layers: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("file", file_values),
        ("editor", editor or {}),
        ("environment", _from_environment(os.environ if environ is None else environ)),
        ("flag", {name: value for name, value in (flags or {}).items() if value is not None}),
    )
    for source, layer in layers:
        for name, value in layer.items():
            try:
                values[name] = _check(source, name, value)
                sources[name] = source
            except ConfigError as error:
                problems.append(str(error))
        if sources["api_key"] == source:
            key_for = values.get("endpoint", "")
    if values.get("api_key") and key_for and _origin(key_for) != _origin(values["endpoint"]):
        values["api_key"] = ""
        problems.append(
            f"{_where(sources['endpoint'], 'endpoint')} names another server than the one that "
            f"{_where(sources['api_key'], 'api_key')} is for, so the key is not sent; give its own key beside it"
        )
    return Loaded(replace(Settings(), **values), tuple(problems), sources)


def allowed(setting: Field[Any]) -> str:
    """Say in words which values a setting takes."""
    if setting.metadata["choices"]:
        return ", ".join(setting.metadata["choices"])
    if setting.type == "bool":
        return "true, false"
    if setting.type == "int":
        low, high = setting.metadata["range"]
        return f"{low} to {high}"
    if setting.name == "endpoint":
        return "a URL"
    return "a path" if setting.metadata["path"] else "text"


def base_url(text: str) -> str:
    """Make the base URL of an OpenAI-compatible endpoint from what people paste; errors do not repeat it."""
    unusable = ConfigError(
        "The endpoint is not an http or https URL", "Write it like http://127.0.0.1:8000/v1"
    )
    try:
        parts = urlsplit(_with_scheme(text.strip()))
        port = parts.port
    except ValueError:
        raise unusable from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[\w.:-]+", host):
        raise unusable
    if parts.username is not None or parts.password is not None:
        raise ConfigError("The endpoint has a user name or password in it", "Put the key in api_key")
    if parts.query or parts.fragment:
        raise ConfigError("The endpoint has something after its path", "Leave out what follows ? or #")
    path = re.sub(r"/(chat/completions|completions|models)$", "", parts.path.rstrip("/"))
    if not any(re.match(r"v\d", segment, re.IGNORECASE) for segment in path.split("/")):
        path += "/v1"
    shown_host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown_host}{'' if port is None else f':{port}'}{path}"


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine for certain."""
    import ipaddress  # this and its like below: seldom needed, and the server starts without them

    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Phrase the nearest known words as a question; empty if nothing is near."""
    import difflib

    near = difflib.get_close_matches(word.lower().replace("-", "_"), known, n=1)
    return f"did you mean {near[0]}?" if near else ""


def _origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: what a key is bound to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _with_scheme(text: str) -> str:
    """Complete an address without a scheme; a lone word is no address, but may well be a key."""
    if "://" in text:
        return text
    host = urlsplit(f"//{text}").hostname or ""
    if is_loopback(host) or host == "0.0.0.0":  # noqa: S104
        return f"http://{text}"
    return f"https://{text}" if re.search(r"[.:]", text) else ""


def _read_file() -> tuple[dict[str, Any], list[str]]:
    path = paths().config_file
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        named = os.environ.get(VARIABLE_PREFIX + "CONFIG")
        return {}, [f"{path} does not exist (NL2CODE_CONFIG names it)"] if named else []
    except UnicodeDecodeError:
        return {}, [f"{path} is not UTF-8 text, none of it is used"]
    except OSError as error:
        return {}, [f"{path} cannot be read: {error.strerror}"]
    import tomllib

    try:
        return tomllib.loads(text), []
    except tomllib.TOMLDecodeError as error:
        return {}, [f"{path} is not valid TOML, none of it is used: {error}"]


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Collect our variables. An empty one counts as not set."""
    names = {name: name.removeprefix(VARIABLE_PREFIX) for name in environ if name.startswith(VARIABLE_PREFIX)}
    return {
        setting.lower(): environ[name]
        for name, setting in names.items()
        if environ[name] and setting not in OTHER_VARIABLES
    }


def _check(source: str, name: str, value: Any) -> Any:
    """Return the value as the setting's type, or raise `ConfigError` with a line that names what is wrong."""
    where = _where(source, name)
    setting = SETTINGS.get(name)
    if setting is None:
        hint = did_you_mean(name, tuple(SETTINGS)) or f"known: {', '.join(SETTINGS)}"
        raise ConfigError(f"{where} is not a setting", hint)
    if source == "editor" and not setting.metadata["editor"]:
        raise ConfigError(
            f"{where} is refused: a cloned repository could set it",
            f"Set it in {paths().config_file} or as {VARIABLE_PREFIX}{name.upper()}",
        )
    from_text = source in ("environment", "flag")
    try:
        return _convert(setting, value, from_text=from_text, relative=source == "flag")
    except ValueError as error:
        reason = str(error) or f"not {_show(setting, value)}"
        raise ConfigError(f"{where} must be {allowed(setting)}, {reason}; its value is not used") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", error.fix) from None


def _convert(setting: Field[Any], value: Any, *, from_text: bool, relative: bool) -> Any:
    """Convert a value or raise ValueError, whose text may say more than that the value is wrong."""
    if setting.type == "bool":
        return _boolean(value, from_text=from_text)
    if setting.type == "int":
        is_number = from_text and isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,9}\s*", value)
        number = int(value) if is_number else value
        low, high = setting.metadata["range"]
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise ValueError
        return number
    if not isinstance(value, str):
        raise ValueError
    text = value.strip()
    if not text.isprintable():
        raise ValueError("without control characters")
    if setting.name == "api_key" and (" " in text or not text.isascii()):
        raise ValueError("without spaces or letters outside ASCII")
    if setting.metadata["choices"] and text not in setting.metadata["choices"]:
        hint = did_you_mean(text, setting.metadata["choices"])
        raise ValueError(f"not {_show(setting, value)}{': ' + hint if hint else ''}")
    if setting.name == "endpoint":
        return base_url(text) if text else ""
    return _full_path(text, relative=relative) if _is_path(setting, text) else text


def _is_path(setting: Field[Any], text: str) -> bool:
    if setting.name == "python":
        return "/" in text or "\\" in text  # else a command found on PATH
    if setting.name == "model":
        return text.startswith(("~", ".", "/")) or text.endswith(".gguf")
    return bool(setting.metadata["path"] and text)


def _full_path(text: str, *, relative: bool) -> str:
    """Resolve a path; only where a person typed it, in a flag, may it depend on the working folder."""
    path = Path(text).expanduser()
    if not path.is_absolute() and not relative:
        raise ValueError("with its full path (or ~): the working folder may be anybody's")
    return str(path.absolute())


def _boolean(value: Any, *, from_text: bool) -> bool:
    if isinstance(value, bool):
        return value
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    if from_text and isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ValueError


def _where(source: str, name: str) -> str:
    shown = name if name.isprintable() and len(name) <= 60 and not _looks_secret(name) else "a key"
    places = {
        "file": f"{shown} in {paths().config_file}",
        "editor": f"{shown} in the editor's settings",
        "environment": f"{VARIABLE_PREFIX}{shown.upper()}",
        "flag": f"--{shown.replace('_', '-')}",
    }
    return places[source]


def _show(setting: Field[Any], value: Any) -> str:
    """Quote a value for a message, unless it could be a key that was pasted into the wrong place."""
    text = repr(value)
    if not setting.repr or setting.name == "endpoint" or _looks_secret(text):
        return "what it is set to"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _looks_secret(text: str) -> bool:
    return any(
        re.search(r"\d", word) and re.search(r"[A-Za-z]", word)
        for word in re.findall(r"[\w+/=.-]{16,}", text)
    ) or bool(re.search(r"\b(sk|pk|ghp|hf|gsk|xox\w)[-_]\w", text))
