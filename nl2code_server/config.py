"""Settings: one TOML file at the user's level, `NL2CODE_*` variables, command-line flags, and taste from the editor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _setting(
    default: Any, help: str, *, choices: tuple[str, ...] = (), low: float = 0, high: float = 0, editor: bool = False
) -> Any:
    """Declare a setting. `editor` marks taste, which an editor (and so a cloned repository) may set."""
    return field(
        default=default,
        metadata={"help": help, "choices": choices, "range": (low, high), "editor": editor},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Resolved settings: every value present and checked. The field names are the keys of the TOML file."""

    endpoint: str = _setting("", "URL of an OpenAI-compatible server to use instead of the local model host.")
    api_key: str = _setting("", "Key for that endpoint; sent to its origin alone.")
    model: str = _setting("auto", "Catalog id, path of a GGUF file, hub id, or the endpoint's model name.")
    engine: str = _setting("auto", "Engine of the local host.", choices=("auto", "llamacpp", "torch"))
    device: str = _setting("auto", "Where the model runs.", choices=("auto", "cpu", "cuda", "mps"))
    threads: int = _setting(0, "CPU threads of the model host; 0 chooses.", low=0, high=1024)
    python: str = _setting("", "Python interpreter that runs the model host; empty takes the server's own.")
    idle_exit: int = _setting(1800, "Seconds without a request after which the model host ends; 0 never.", low=0, high=604800)
    request_timeout: int = _setting(120, "Seconds that one generation may take.", low=1, high=3600)
    max_tokens: int = _setting(512, "Longest suggestion, in tokens.", low=16, high=8192)
    context_tokens: int = _setting(0, "Longest prompt, in tokens; 0 chooses by hardware.", low=0, high=131072)
    mode: str = _setting(
        "auto", "What is taken for a request: any instruction comment, only marked ones, or none unasked.",
        choices=("auto", "marker", "manual"), editor=True,
    )
    surface: str = _setting(
        "auto", "How suggestions are offered.", choices=("auto", "inline", "popup", "both"), editor=True
    )
    comment: str = _setting(
        "keep", "What becomes of the instruction comment on accept.", choices=("keep", "docstring", "remove"), editor=True
    )
    candidates: int = _setting(1, "Suggestions to make for one instruction.", low=1, high=8, editor=True)
    verify: bool = _setting(True, "Run the examples of an instruction in the sandbox.", editor=True)
    feedback: str = _setting("full", "What the feedback log keeps.", choices=("full", "no-code", "off"))
    redact: bool = _setting(True, "Remove secrets from text before it is stored or sent to another machine.")
    retention_days: int = _setting(0, "Days after which feedback is deleted; 0 keeps it.", low=0, high=36500)
    database: str = _setting("", "Path of the feedback store; empty takes the user's data folder.")
    log_file: str = _setting("", "File for the server's own log; empty is stderr.")
    log_level: str = _setting("warning", "How much the server's own log tells.", choices=("error", "warning", "info", "debug"))
