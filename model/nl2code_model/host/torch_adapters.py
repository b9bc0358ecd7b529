"""LoRA adapters on a loaded model: put on, exchanged and taken off without touching the model's own weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nl2code_server.errors import HostError

from ..models.source import PICKLES, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


class Adapters:
    """At most one adapter on a model. Whatever was computed with the one before is stale after a change."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._current = ""
        self._made = 0

    def put_on(self, folder: Path) -> None:
        """Load an adapter in place of the current one; if that fails, raise `HostError` and keep the current one."""
        config = _checked(folder)
        try:
            import peft  # noqa: F401
        except ImportError as error:
            raise HostError(
                f"adapters need peft, which is not installed: {error}", 'run: pip install "nl2code[tune]"'
            ) from error
        self._made += 1
        name = f"adapter{self._made}"
        try:
            self._load(folder, config, name)
        except Exception as error:  # whatever a folder that claims to be an adapter makes of the library
            self._activate(self._current)
            self._delete(name)
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise HostError(
                f"the adapter in {folder} does not fit this model: {reason}", "use one made for this model"
            ) from error
        previous, self._current = self._current, name
        self._activate(name)
        self._delete(previous)

    def take_off(self) -> None:
        """Leave the model as it was made."""
        if not self._current:
            return
        previous, self._current = self._current, ""
        self._activate("")
        self._delete(previous)

    def _load(self, folder: Path, told: dict[str, Any], name: str) -> None:
        from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
        from safetensors.torch import load_file

        config: Any = LoraConfig.from_peft_type(**{**told, "inference_mode": True})
        weights = {
            key.removeprefix("base_model.model."): tensor
            for key, tensor in load_file(folder / WEIGHTS).items()
        }
        if strange := [key for key, tensor in weights.items() if not tensor.isfinite().all()]:
            raise ValueError(f"{min(strange)} holds values that are no numbers")
        # What is left of the adapter before, which peft warns of.
        vars(self._model).pop("peft_config", None)
        inject_adapter_in_model(config, self._model, name)
        done = set_peft_model_state_dict(self._model, weights, adapter_name=name)
        if done.unexpected_keys:
            raise ValueError(f"the model has no {min(done.unexpected_keys)}")
        if lacking := [key for key in done.missing_keys if f".{name}." in key]:
            raise ValueError(f"it lacks {min(lacking)}")
        self._model.requires_grad_(False).eval()

    def _layers(self) -> list[Any]:
        from peft.tuners.tuners_utils import BaseTunerLayer

        return [module for module in self._model.modules() if isinstance(module, BaseTunerLayer)]

    def _activate(self, name: str) -> None:
        for layer in self._layers():
            has_it = bool(name) and name in layer.lora_A
            layer.enable_adapters(has_it)
            if has_it:
                layer.set_adapter(name, inference_mode=True)

    def _delete(self, name: str) -> None:
        for layer in self._layers():
            if name in layer.lora_A:
                layer.delete_adapter(name)


def _checked(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise HostError(f"there is no adapter {folder}", "give the folder of an adapter")
    if not (folder / WEIGHTS).is_file():
        pickles = [path.name for path in folder.iterdir() if path.suffix in PICKLES]
        why = f"has its weights as {pickles[0]}, a pickle file" if pickles else f"has no {WEIGHTS}"
        raise HostError(f"the adapter {folder} {why}", "save it in safetensors form")
    config = read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise HostError(
            f"the adapter in {folder} is {config.get('peft_type')}, and only LORA can be used",
            "tune with LoRA",
        )
    if config.get("auto_mapping"):
        config = {**config, "auto_mapping": None}
    return config
