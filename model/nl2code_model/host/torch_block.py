"""The step of models built like Llama (Qwen2, Qwen3, Mistral, SmolLM and others) in few kernels.

transformers writes a layer for training, prompts and steps alike: some 40 kernels, and a small model's step is little
else than their starts. Here matrices that read the same values are one, and the rest is as few operations as torch
has for it. Whether a model is built so is not asked of its name: `fused` tries some steps both ways and compares.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from .torch_cache import Rows
    from .torch_step import Forward

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 2e-2}
"""How far logits may be from those of transformers, as a part of their length: two ways of rounding."""


class _Layer(NamedTuple):
    """What a layer works with. Tensors alone: a compiled `_layer` serves all layers."""

    before: Tensor
    after: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    gate_up: Tensor
    down: Tensor


class _Sizes(NamedTuple):
    heads: int
    groups: int
    """Heads of keys and values."""
    width: int
    scale: float
    epsilon: float


class Fused:
    """A model's step over rows of keys and values; a `Forward`."""

    def __init__(self, model: Any, table: Rows) -> None:
        """Raise `AttributeError` or `TypeError` for a model that is built otherwise."""
        inner = model.model
        attention = inner.layers[0].self_attn
        width = attention.head_dim
        self._sizes = _Sizes(
            heads=attention.q_proj.out_features // width,
            groups=attention.k_proj.out_features // width,
            width=width,
            scale=attention.scaling,
            epsilon=inner.norm.variance_epsilon,
        )
        self._table = table
        self._embeddings = inner.embed_tokens.weight
        self._rotary = inner.rotary_emb
        self._norm = inner.norm.weight
        self._head = _plain(model.lm_head)
        self._layers = [_layer_of(layer) for layer in inner.layers]
        self.layer = _layer
        """What makes one layer's part; may be replaced by a compiled one."""

    def __call__(self, tokens: Tensor, positions: Tensor, rows: Tensor, visible: int) -> Tensor:
        hidden = functional.embedding(tokens, self._embeddings)
        cos, sin = self._rotary(hidden, positions[:, None])
        half = self._sizes.width // 2
        # Turned values are x * cos + swapped(x) * sin, the first half of sin negative.
        turn = (cos, torch.cat((-sin[..., :half], sin[..., half:]), dim=-1))
        mask = self._table.many(rows, positions, visible, hidden.dtype)
        for layer, cache in zip(self._layers, self._table.layers, strict=True):
            assert cache.keys is not None and cache.values is not None
            hidden = self.layer(
                hidden, layer, self._sizes, turn, cache.keys, cache.values, rows, positions, mask
            )
        return functional.linear(_normed(hidden, self._norm, self._sizes.epsilon), self._head)


def fused(model: Any, table: Rows, plain: Forward) -> Forward | None:
    """Return the model's step in few kernels; None where it is not built like that. The rows must hold nothing."""
    try:
        with torch.inference_mode(False), torch.no_grad():  # weights are used elsewhere too
            made = Fused(model, table)
        expected, got = _tried(plain, table, model.device), _tried(made, table, model.device)
    except (AttributeError, TypeError, RuntimeError) as error:
        log.info("steps are made as transformers does: %s", error)
        return None
    far = float((got - expected).norm() / expected.norm())
    if not far <= TOLERANCE[model.dtype]:
        log.info("steps are made as transformers does: fused, they are off by %.2g", far)
        return None
    return made


def _tried(forward: Forward, table: Rows, device: torch.device) -> Tensor:
    """Return the logits after a few tokens: the later ones look back at the first, from positions apart."""
    rows = torch.tensor([0, table.spare], device=device)
    logits = [
        forward(rows + position, torch.full_like(rows, position), rows, min(64, table.length))
        for position in range(4)
    ]
    return logits[-1].float()


def _layer(
    hidden: Tensor,
    layer: _Layer,
    sizes: _Sizes,
    turn: tuple[Tensor, Tensor],
    keys: Tensor,
    values: Tensor,
    rows: Tensor,
    positions: Tensor,
    mask: Tensor,
) -> Tensor:
    batch, visible = len(hidden), mask.shape[-1]
    mixed = functional.linear(_normed(hidden, layer.before, sizes.epsilon), layer.qkv, layer.qkv_bias)
    mixed = mixed.view(batch, sizes.heads + 2 * sizes.groups, sizes.width)
    turned, value = mixed.split([sizes.heads + sizes.groups, sizes.groups], dim=1)
    if layer.q_norm is not None and layer.k_norm is not None:
        query, key = turned.split([sizes.heads, sizes.groups], dim=1)
        turned = torch.cat(
            (_normed(query, layer.q_norm, sizes.epsilon), _normed(key, layer.k_norm, sizes.epsilon)), dim=1
        )
    turned = torch.addcmul(turned * turn[0], turned.roll(sizes.width // 2, -1), turn[1])
    query, key = turned.split([sizes.heads, sizes.groups], dim=1)
    keys[rows, :, positions] = key
    values[rows, :, positions] = value
    # The heads that share keys take the place of positions: nothing has to be repeated.
    seen = functional.scaled_dot_product_attention(
        query.reshape(batch, sizes.groups, -1, sizes.width),
        keys[rows, :, :visible],
        values[rows, :, :visible],
        attn_mask=mask,
        scale=sizes.scale,
    )
    hidden = hidden + functional.linear(seen.reshape(batch, -1), layer.out, layer.out_bias)
    gate, up = functional.linear(_normed(hidden, layer.after, sizes.epsilon), layer.gate_up).chunk(2, dim=-1)
    return hidden + functional.linear(functional.silu(gate) * up, layer.down)


def _normed(values: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return functional.rms_norm(values, weight.shape, weight, epsilon)


def _layer_of(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    if not isinstance(mlp.act_fn, nn.SiLU) and type(mlp.act_fn).__name__ != "SiLUActivation":
        raise TypeError(f"its activation is {type(mlp.act_fn).__name__}")
    q_norm, k_norm = (getattr(attention, name, None) for name in ("q_norm", "k_norm"))
    qkv, qkv_bias = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
    gate_up, none = _joined(mlp.gate_proj, mlp.up_proj)
    if none is not None or mlp.down_proj.bias is not None:
        raise TypeError("its feed-forward part has biases")
    return _Layer(
        before=layer.input_layernorm.weight,
        after=layer.post_attention_layernorm.weight,
        qkv=qkv,
        qkv_bias=qkv_bias,
        q_norm=q_norm.weight if q_norm else None,
        k_norm=k_norm.weight if k_norm else None,
        out=_plain(attention.o_proj),
        out_bias=attention.o_proj.bias,
        gate_up=gate_up,
        down=_plain(mlp.down_proj),
    )


def _plain(linear: Any) -> Tensor:
    if type(linear) is not nn.Linear:  # an adapter is on it
        raise TypeError(f"a matrix is a {type(linear).__name__}")
    return linear.weight


def _joined(*linears: Any) -> tuple[Tensor, Tensor | None]:
    """Return matrices as one that they become parts of: memory is taken once."""
    weights = [_plain(linear) for linear in linears]
    whole = torch.cat(weights)
    for linear, part in zip(linears, whole.split([len(weight) for weight in weights]), strict=True):
        linear.weight = nn.Parameter(part, requires_grad=False)
    biases = [linear.bias for linear in linears]
    if all(bias is None for bias in biases):
        return whole, None
    return whole, torch.cat(biases)
