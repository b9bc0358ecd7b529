"""Loading a model into torch: versions, device, number format and memory settled before any weight is read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from nl2code_server.errors import ConfigError, HostError, ModelFileError
from nl2code_server.platform import available_memory

from ..models.source import Source

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Older ones run code from a config (CVE-2026-4372) or corrupt memory when loading (CVE-2026-24747).
OLDEST = {"torch": (2, 10), "transformers": (5, 17)}
DEVICES = ("auto", "cuda", "mps", "cpu")
DTYPES = ("auto", "bfloat16", "float16", "float32")
INSTALL = 'run: pip install "nl2code[torch]"'
HEADROOM = 1.1
"""What a model takes beyond its weights, before any prompt."""
CLEARLY = 0.9
"""bfloat16 is preferred on a CPU where it takes at most this part of float32's time."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory, ready to be asked."""

    model: PreTrainedModel
    tokenizer: Any
    """As transformers loads it; its `backend_tokenizer` does the work."""
    device: torch.device
    dtype: torch.dtype
    encoder_decoder: bool
    ends: frozenset[int]
    """Tokens that end an answer."""
    context: int
    """Longest input that the model was made for, in tokens; 0 where its config does not say."""


def require_libraries() -> None:
    """Raise `HostError` unless torch and transformers are installed, and new enough to be safe."""
    for name, oldest in OLDEST.items():
        wanted = ".".join(map(str, oldest))
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError as error:
            raise HostError(f"the torch engine needs {name}, which is not installed", INSTALL) from error
        if tuple(int(part) for part in found.split(".")[:2]) < oldest:
            raise HostError(f"{name} {found} is too old: the torch engine needs {wanted}", INSTALL)


def load(source: Source, *, device: str = "auto", dtype: str = "auto", threads: int = 0) -> Loaded:
    """Load a model; raise `Nl2CodeError`, with one clear line, if that cannot be."""
    if device not in DEVICES:
        raise ConfigError(f"there is no device {device!r}", f"use one of {', '.join(DEVICES)}")
    if dtype not in DTYPES:
        raise ConfigError(f"the torch engine has no dtype {dtype!r}", f"use one of {', '.join(DTYPES)}")
    require_libraries()
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    if threads:
        torch.set_num_threads(threads)
    class_name, encoder_decoder = _architecture(source)
    where = torch.device(_device(device))
    number = _dtype(dtype, where, source)
    check_memory(source, where, number)
    try:
        config = transformers.AutoConfig.for_model(**source.config)
        made = getattr(transformers, class_name)
        attention = "sdpa" if made._supports_sdpa else "eager"
        model, info = made.from_pretrained(
            source.folder,
            config=config,
            dtype=number,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            source.folder, trust_remote_code=False, local_files_only=True
        )
        if info["missing_keys"]:
            raise ValueError(f"it lacks {min(info['missing_keys'])}")
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise ValueError("its tokenizer has no fast form (tokenizer.json)")
        model = model.to(where).eval().requires_grad_(False)
    except torch.OutOfMemoryError as error:
        raise _too_large(source, where, number) from error
    except Exception as error:  # whatever a folder that claims to be a model makes of the library
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelFileError(
            f"the model in {source.folder} cannot be loaded: {lines[0]}", "download it again, or use another"
        ) from error
    return Loaded(
        model,
        tokenizer,
        where,
        number,
        encoder_decoder,
        _ends(model, tokenizer),
        _context(config, encoder_decoder),
    )


def _architecture(source: Source) -> tuple[str, bool]:
    """Return the model's class, and whether it is an encoder-decoder."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL,
    )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES as SEQ2SEQ,
    )

    kind = source.config.get("model_type")
    told = source.config.get("architectures")
    names = [str(name) for name in told] if isinstance(told, list) else []
    for mapping, encoder_decoder in ((SEQ2SEQ, True), (CAUSAL, False)):
        known = mapping.get(kind, ()) if isinstance(kind, str) else ()
        ours = (known,) if isinstance(known, str) else tuple(known)
        if found := next((name for name in names if name in ours), None):
            return found, encoder_decoder
    named = names[0] if names else kind
    raise ModelFileError(
        f"the architecture {named!r} of {source.id} is not one that writes text with transformers",
        "use a causal or an encoder-decoder language model",
    )


def _device(asked: str) -> str:
    import torch

    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if asked == "auto":
        return next(name for name, is_there in there.items() if is_there)
    if not there[asked]:
        raise HostError(
            f"torch finds no {asked} device here", "use --device cpu, or install a torch that has it"
        )
    return asked


def _dtype(asked: str, device: torch.device, source: Source) -> torch.dtype:
    """Choose the format to compute in by what the hardware does well."""
    import torch

    if device.type == "cuda":
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        bfloat16 = device.type != "mps" or torch.backends.mps.is_macos_or_newer(14, 0)
    if asked == "bfloat16" and not bfloat16:
        raise ConfigError(f"this {device.type} device does not compute in bfloat16", "use --dtype float16")
    if asked != "auto":
        return getattr(torch, asked)
    if device.type == "cpu":
        return _faster_on_cpu(source)
    return torch.bfloat16 if bfloat16 else torch.float16


def _faster_on_cpu(source: Source) -> torch.dtype:
    """Time one layer's worth of products in both formats: which is faster depends on the CPU and on the sizes."""
    import torch

    width = _first(source.config, "hidden_size", "d_model", "n_embd") or 1024
    with torch.inference_mode():
        seconds = {}
        for dtype in (torch.float32, torch.bfloat16):
            weights = [torch.zeros(width, width, dtype=dtype) for _ in range(12)]
            seconds[dtype] = min(
                _timed(lambda w=weights, d=dtype: _product(w, d))
                for _ in range(5)  # type: ignore[misc]
            )
    faster = seconds[torch.bfloat16] <= CLEARLY * seconds[torch.float32]
    return torch.bfloat16 if faster else torch.float32


def _product(weights: Collection[torch.Tensor], dtype: torch.dtype) -> None:
    import torch

    for weight in weights:
        torch.nn.functional.linear(torch.zeros(1, weight.shape[1], dtype=dtype), weight)


def _timed(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def check_memory(source: Source, device: torch.device, dtype: torch.dtype) -> None:
    """Raise `HostError` if the model is larger than the memory that is free."""
    if needed_bytes(source, dtype) > free_memory(device):
        raise _too_large(source, device, dtype)


def needed_bytes(source: Source, dtype: torch.dtype) -> int:
    """Return what a model takes in memory."""
    return int(source.parameters * dtype.itemsize * HEADROOM)


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be had on a device."""
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return available_memory()


def _too_large(source: Source, device: torch.device, dtype: torch.dtype) -> HostError:
    needed, free = needed_bytes(source, dtype) / 1e9, free_memory(device) / 1e9
    name = str(dtype).removeprefix("torch.")
    return HostError(
        f"{source.id} takes {needed:.1f} GB in {name}, and {free:.1f} GB are free on {device.type}",
        "use a smaller model, or free memory",
    )


def _ends(model: PreTrainedModel, tokenizer: Any) -> frozenset[int]:
    told = [model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id]
    ends: set[int] = set()
    for value in told:
        ends.update([value] if isinstance(value, int) else value or ())
    return frozenset(ends)


def _context(config: Any, encoder_decoder: bool) -> int:
    values = config.to_dict()
    longest = _first(values, "max_position_embeddings", "n_positions", "n_ctx") or 0
    # A layer with a window sees all that there is while the context is no longer than the window.
    kinds = values.get("layer_types") or ()
    windowed = any("sliding" in kind or "chunked" in kind for kind in kinds) or not kinds
    window = _first(values, "sliding_window") if windowed and not encoder_decoder else None
    return min(longest, window) if window and longest else longest


def _first(values: dict[str, Any], *names: str) -> int | None:
    return next((values[name] for name in names if isinstance(values.get(name), int)), None)
