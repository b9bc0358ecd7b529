"""Every number that tuning rests on, in one place: they are written into the manifest of each adapter."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from nl2code_server.errors import ConfigError

Stage = Literal["sft", "kto", "dpo"]
STAGES: tuple[Stage, ...] = ("sft", "kto", "dpo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """Where one label ends and the next begins. Distances are `1 - kept_ratio`, see `feedback.tracker`."""

    trivial: float = 0.05
    """Accepted code edited by no more than this counts as it was shown."""
    retained: float = 0.8
    """Least part that must be left for an accepted answer to be preferred over one that was seen and passed over."""
    rewritten: float = 0.5
    """Accepted code edited by more than this says nothing: another intent."""
    instead: float = 0.3
    """What the user wrote in the place of an answer is learnt from if it shares at least this much with it."""
    visible_ms: int = 750
    """An answer that was there for less was not seen."""
    ignored_share: float = 0.0
    """Part of the answers seen and left alone that count as undesirable. None: whoever asks and goes on typing has
    not said why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaning:
    """What is left out of a data set."""

    least_tokens: int = 3
    near: float = 0.7
    """Jaccard similarity of 5-grams from which on two rows count as one."""
    overlap: int = 10
    """A row that shares a run of so many tokens with a task of the gate is left out."""
    file_share: float = 0.05
    file_least: int = 10
    """Rows of one file: this share of all at most, and this many always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is made of the rows to learn from; never of those turned down."""

    paraphrase: bool = True
    """The instruction in other words."""
    fill: bool = True
    """The instruction with the name and the parameters that the answer has."""
    rename: bool = True
    """Local variables under other names."""
    diversity: bool = False
    """Other answers to the same instruction that passed its example and that nobody saw. Off: nobody has said that
    they are in the user's style."""
    most: int = 2
    """Variants of one row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What is held out for the gate: the newest files, whole."""

    share: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    """Sizes below which a stage, or all of it, refuses."""

    judged: int = 50
    """Suggestions with a verdict, held-out ones included."""
    sft: int = 20
    kto_each: int = 10
    """Of desirable rows, and of undesirable ones."""
    dpo: int = 20
    held_out: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How the adapter is trained."""

    stages: tuple[Stage, ...] = STAGES
    rank: int = 16
    lora_alpha: int = 32
    max_length: int = 1024
    epochs: float = 2.0
    batch: int = 4
    """Rows of a step on one device; at least 2, as KTO pairs rows within it."""
    accumulation: int = 2
    sft_rate: float = 1e-4
    kto_rate: float = 2e-5
    dpo_rate: float = 5e-6
    beta: float = 0.1
    alpha: float = 0.3
    """Weight of the SFT term beside the feedback's; not its share of the gradient."""
    kto_loss: Literal["kto", "apo_zero_unpaired"] = "apo_zero_unpaired"
    """The second needs no estimate of the KL divergence, so half the work."""
    bfloat16: bool = False
    """Compute in bfloat16 on a CPU too; the adapter itself stays in float32. On processors that have it steps take
    half the time; others are slower with it."""
    warmup: float = 0.1
    replay_share: float = 0.3
    """Part of the SFT rows that are the base model's own answers, so that it forgets less."""
    checkpoint_steps: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """What an adapter must show before it serves."""

    least_held_out: int = 10
    least_tasks: int = 20
    gain: float = 0.05
    """Least gain in likeness to what the user kept; the lower end of its interval must be above 0."""
    confidence: float = 0.95
    """One-sided, for all intervals."""
    pass_margin: float = 0.05
    """Our own tasks cannot show less: 146 of them, of which 4 % change, tell 4 points."""
    parse_margin: float = 0.01
    length_band: float = 0.25
    repeat_margin: float = 0.005
    draws: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All of it."""

    cuts: Cuts = field(default_factory=Cuts)
    cleaning: Cleaning = field(default_factory=Cleaning)
    augmentation: Augmentation = field(default_factory=Augmentation)
    split: Split = field(default_factory=Split)
    least: Least = field(default_factory=Least)
    training: Training = field(default_factory=Training)
    gate: GateLimits = field(default_factory=GateLimits)

    def as_json(self) -> dict[str, Any]:
        """Return the form for a manifest."""
        return asdict(self)

    def with_values(self, pairs: dict[str, str]) -> Recipe:
        """Return a recipe with values changed, each named `part.value`; raise `ConfigError` for one that is not."""
        data = self.as_json()
        for name, text in pairs.items():
            part, _, value = name.partition(".")
            if part not in data or value not in data[part]:
                known = ", ".join(f"{part}.{value}" for part, values in data.items() for value in values)
                raise ConfigError(f"There is no {name} in the recipe", f"Take one of {known}")
            data[part][value] = _parsed(name, text, data[part][value])
        return recipe_of(data)


def recipe_of(data: dict[str, Any]) -> Recipe:
    """Read back what `as_json` gave. Parts and values that are not there keep their defaults."""
    parts: dict[str, Any] = {}
    for one in fields(Recipe):
        kind = type(getattr(Recipe(), one.name))
        known = {f.name for f in fields(kind)}
        values = {name: value for name, value in data.get(one.name, {}).items() if name in known}
        if "stages" in values:
            values["stages"] = tuple(values["stages"])
        parts[one.name] = kind(**values)
    return Recipe(**parts)


def _parsed(name: str, text: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, (tuple, list)):
            stages = tuple(one.strip() for one in text.split(","))
            if not set(stages) <= set(STAGES):
                raise ValueError
            return stages
        return type(default)(text)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{name} cannot be {text!r}", f"It is {default!r} now") from error
