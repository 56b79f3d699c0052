"""Queries: which earlier vectors activate the value neurons (section 3.4).

Subvalues are constant, so what a value neuron adds depends on the input only through its
coefficient. The state that enters its layer is a sum of earlier vectors u; the share of u is its
inner product with the neuron's subkey over the sum of all of them, weighted by the neuron's
importance:

    score(u) += Imp_n · (u · key_n) / Σ_u' (u' · key_n)

u · key is taken behind the layer's norm with its scale frozen to the state that enters it, so that
the inner products sum to the neuron's pre-activation less its bias. The public code keys FFN
neurons of Llama by their value vector; the subkeys here are rows of up and gate.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llm_anatomy.config.facts import Subkey
from llm_anatomy.facts.record import Recording
from llm_anatomy.facts.subvalues import AttentionUnits, Subvalues
from llm_anatomy.model.parts.architecture import Block, Mlp
from llm_anatomy.model.parts.norm import Norm
from llm_anatomy.model.parts.projection import Projection


@dataclass(frozen=True)
class QueryShares:
    """Query scores of the vectors that enter value neurons' layers, summed over the neurons.

    Attributes:
        scores: One per part: h^0, A^0, F^0, A^1, …
        traced: Value neurons that count.
        left_out: Value neurons whose inner products cancel, which do not.
    """

    scores: Float[Tensor, " parts"]
    traced: int
    left_out: int


def ffn_query_layers(
    recording: Recording,
    blocks: tuple[Block, ...],
    layers: Int[Tensor, " n"],
    neurons: Int[Tensor, " n"],
    importance: Float[Tensor, " n"],
    subkey: Subkey,
    min_denominator: float,
) -> QueryShares:
    """Query layers of FFN value neurons, at the last position.

    Args:
        recording: The prompt's residual stream.
        blocks: The model's blocks.
        layers: Layer of each value neuron.
        neurons: Its number in the layer.
        importance: Its importance.
        subkey: Which rows are the subkey of a gated neuron.
        min_denominator: Smallest |Σ inner products| / Σ |inner products| that counts.
    """
    parts = recording.parts()
    scores = torch.zeros(len(parts), dtype=parts.dtype, device=parts.device)
    traced = 0
    for layer in layers.unique().tolist():
        block, chosen = blocks[layer], layers == layer
        # The MLP reads the state after attention; beside attention in parallel blocks.
        entering = parts[: 2 * layer + (1 if block.parallel else 2)]
        inner = ffn_inner_products(block, entering, neurons[chosen], subkey)
        usable = _usable(inner, min_denominator)
        shares = inner[:, usable] / inner[:, usable].sum(0)
        scores[: len(entering)] += shares @ importance[chosen][usable]
        traced += int(usable.sum())
    return QueryShares(scores, traced, len(layers) - traced)


def ffn_inner_products(
    block: Block, parts: Float[Tensor, "parts d_model"], neurons: Int[Tensor, " n"], subkey: Subkey
) -> Float[Tensor, "parts n"]:
    """U · subkey of every part of the state that enters an MLP, for some of its neurons.

    With `product`, u · key is the change of act(g) · up that u makes to first order:
    act'(g) up (gate · u) + act(g) (up · u).
    """
    mlp = Mlp(block.gate, block.up, block.down, block.activation)
    state = parts.sum(0)
    normed = _normed(block.mlp_norm, parts, state)
    up = normed @ _rows(mlp.up, neurons, parts).T
    if mlp.gate is None or subkey == "up":
        return up
    gate = normed @ _rows(mlp.gate, neurons, parts).T
    if subkey == "gate":
        return gate
    if subkey == "up+gate":
        return up + gate
    full = _affine_norm(block.mlp_norm, state)
    g, u = _outputs(mlp.gate, neurons, full), _outputs(mlp.up, neurons, full)
    act, slope = _value_and_slope(mlp.activation, g)
    return slope * u * gate + act * up


def attention_query_layers(
    recording: Recording,
    blocks: tuple[Block, ...],
    units: AttentionUnits,
    importance: Float[Tensor, " n"],
    min_denominator: float,
) -> QueryShares:
    """Query layers of attention value neurons, each at its own source position."""
    parts = recording.parts()
    scores = torch.zeros(len(parts), dtype=parts.dtype, device=parts.device)
    traced = 0
    for at in range(len(importance)):
        layer, position = int(units.layer[at]), int(units.position[at])
        entering = recording.parts(position)[: 2 * layer + 1]
        key = _residual_key(blocks[layer], units, at, entering.sum(0))
        inner = (entering @ key)[:, None]
        if not _usable(inner, min_denominator).item():
            continue
        scores[: len(entering)] += inner[:, 0] / inner.sum() * importance[at]
        traced += 1
    return QueryShares(scores, traced, len(importance) - traced)


def query_neurons(
    recording: Recording,
    subvalues: Subvalues,
    units: AttentionUnits,
    importance: Float[Tensor, " n"],
    min_denominator: float,
) -> Float[Tensor, " neurons"]:
    """Query scores of all FFN neurons for a fact's attention value neurons.

    Q[l',k'] = Σ_n Imp_n (m_{p,k'} fc2_{k'} · key_n) / (h_p · key_n), over earlier layers l' < l.

    Returns:
        One score per FFN neuron, numbered through all layers.
    """
    blocks = subvalues.decoder.blocks
    scores = [columns.new_zeros(columns.shape[1]) for columns in subvalues.ffn]
    for position in units.position.unique().tolist():
        at_position = (units.position == position).nonzero()[:, 0].tolist()
        parts = recording.parts(position)
        keys, weights, reach = [], [], []
        for at in at_position:
            layer = int(units.layer[at])
            entering = parts[: 2 * layer + 1]
            key = _residual_key(blocks[layer], units, at, entering.sum(0))
            inner = entering @ key
            if _usable(inner[:, None], min_denominator).item():
                keys.append(key)
                weights.append(importance[at] / inner.sum())
                reach.append(layer)
        if not keys:
            continue
        stacked, factors = torch.stack(keys), torch.stack(weights)
        limits = torch.tensor(reach, device=factors.device)
        for layer in range(max(reach)):
            pull = (factors * (limits > layer)) @ stacked
            m = subvalues.ffn_coefficients(recording, layer, position)
            scores[layer] += m * (subvalues.ffn[layer].T @ pull)
    return torch.cat(scores)


def _residual_key(block: Block, units: AttentionUnits, at: int, state: Tensor) -> Tensor:
    """Row of W^v for an attention neuron, pulled back through the frozen norm to the stream.

    Grouped-query attention: query head j reads value head j // group.
    """
    group = block.n_heads // block.n_kv_heads
    row = int(units.head[at]) // group * block.head_dim + int(units.dimension[at])
    key = block.v.weight_rows(torch.tensor([row]), state.dtype)[0].to(state.device)
    norm = block.attention_norm
    if norm is None:
        return key
    key = key * norm.gain.to(key) / norm.scale(state)
    return key - key.mean() if norm.centred else key


def _normed(norm: Norm | None, vectors: Tensor, state: Tensor) -> Tensor:
    return vectors if norm is None else norm.frozen(vectors, state)


def _affine_norm(norm: Norm | None, state: Tensor) -> Tensor:
    if norm is None:
        return state
    normed = norm.frozen(state[None], state)[0]
    return normed if norm.bias is None else normed + norm.bias.to(normed)


def _rows(projection: Projection, rows: Tensor, like: Tensor) -> Tensor:
    """Some rows of a projection's weight."""
    return projection.weight_rows(rows, like.dtype).to(like.device)


def _outputs(projection: Projection, rows: Tensor, state: Tensor) -> Tensor:
    """Some outputs of a projection, bias included."""
    value = _rows(projection, rows, state) @ state
    bias = projection.bias(state.dtype)
    return value if bias is None else value + bias[rows.cpu()].to(state.device)


def _value_and_slope(activation: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        variable = x.detach().clone().requires_grad_(True)
        value = activation(variable)
        (slope,) = torch.autograd.grad(value.sum(), variable)
    return value.detach(), slope


def _usable(inner: Float[Tensor, "parts n"], smallest: float) -> Bool[Tensor, " n"]:
    return inner.sum(0).abs() > smallest * inner.abs().sum(0)
