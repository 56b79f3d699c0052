"""Subvalues: the vectors that FFN and attention neurons add to the residual stream.

FFN neuron k of layer l adds m_k · fc2_k, where fc2_k is column k of the down projection (Eq. 4-6).
Attention neuron (l, j, k) adds, for every source position p, α_{j,p} (W^v_j h_p)_k times column
j·d_h + k of the o projection (Eq. 7). Grouped-query attention shares value head j // group.

Post-norms and residual scales are linear once frozen: their gains go into the columns, their
scale of the prompt at hand goes into the coefficients.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.facts.record import Recording, added_attention
from llm_anatomy.model.parts.architecture import Block, Decoder
from llm_anatomy.model.parts.norm import Norm
from llm_anatomy.model.parts.projection import Projection, input_features
from llm_anatomy.model.run.readout import computing_type


class Columns:
    """The columns of one projection of every layer, as they act on the residual stream.

    They are widened to the type of the computation when they are asked for, a layer or some columns
    at a time: widened whole, those of an 8B model would take 10 GB.

    Args:
        decoder: The model.
        projections: The projection of every layer.
        norms: The norm behind each, or None.
    """

    def __init__(
        self, decoder: Decoder, projections: list[Projection], norms: list[Norm | None]
    ) -> None:
        self.projections, self.norms = projections, norms
        self.dtype, self.device = computing_type(decoder), decoder.device
        self.d_model = decoder.d_model
        # Columns that need no widening, but are not the weight itself.
        self._normed: dict[int, Tensor] = {}
        self._keep = decoder.dtype == self.dtype

    def __len__(self) -> int:
        return len(self.projections)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[layer] for layer in range(len(self)))

    def __getitem__(self, layer: int) -> Float[Tensor, "d_model columns"]:
        """All columns of a layer."""
        if layer in self._normed:
            return self._normed[layer]
        weight = self.projections[layer].weight(self.dtype).to(self.device)
        norm = self.norms[layer]
        columns = _through(norm, weight)
        if norm is not None and self._keep:
            self._normed[layer] = columns
        return columns

    def gather(
        self, layers: Int[Tensor, " n"], columns: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d_model"]:
        """Some columns, each of its own layer."""
        shape = (len(layers), self.d_model)
        gathered = torch.empty(shape, dtype=self.dtype, device=self.device)
        for layer in layers.unique().tolist():
            at = layers == layer
            wanted = self.projections[layer].weight_columns(columns[at], self.dtype)
            gathered[at] = _through(self.norms[layer], wanted.to(self.device)).T
        return gathered


class Subvalues:
    """The columns of every layer's down and o projections, as they act on the residual stream."""

    def __init__(self, decoder: Decoder) -> None:
        blocks = decoder.blocks
        self.decoder = decoder
        self.ffn = Columns(decoder, [b.down for b in blocks], [b.mlp_post_norm for b in blocks])
        self.attention = Columns(
            decoder, [b.o for b in blocks], [b.attention_post_norm for b in blocks]
        )

    @cached_property
    def widths(self) -> list[int]:
        """FFN neurons of every layer."""
        return [input_features(block.down.module) for block in self.decoder.blocks]

    @cached_property
    def ffn_norms(self) -> Float[Tensor, " units"]:
        """|fc2_k| of every FFN neuron, layer after layer."""
        return torch.cat([columns.norm(dim=0) for columns in self.ffn])

    def ffn_coefficients(
        self, recording: Recording, layer: int, position: int = -1
    ) -> Float[Tensor, " neurons"]:
        """What multiplies each column of `ffn[layer]` at a position."""
        block = self.decoder.blocks[layer]
        factor = _factor(block.mlp_post_norm, block, recording.raw_ffn[layer, position])
        return recording.coefficients[layer][position] * factor

    def attention_coefficients(
        self, recording: Recording, layer: int
    ) -> Float[Tensor, "heads tokens head_dim"]:
        """What multiplies each column of `attention[layer]` for the last position, by source."""
        block = self.decoder.blocks[layer]
        factor = _factor(block.attention_post_norm, block, recording.raw_attention[layer, -1])
        return value_scalars(block, recording, layer) * factor

    def ffn_columns(self, units: Int[Tensor, " n"]) -> Float[Tensor, "n d_model"]:
        """Columns of FFN neurons that are numbered through all layers."""
        layers, neurons = split_units(units, self.widths)
        return self.ffn.gather(layers, neurons)

    def attention_columns(
        self, layers: Int[Tensor, " n"], columns: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d_model"]:
        """Columns j·d_h + k of the o projections."""
        return self.attention.gather(layers, columns)


def value_scalars(
    block: Block, recording: Recording, layer: int
) -> Float[Tensor, "heads tokens head_dim"]:
    """α_{j,p} (W^v_j h_p)_k of the last position for every head, source position and dimension."""
    group = block.n_heads // block.n_kv_heads
    values = recording.values[layer].repeat_interleave(group, 0)
    return recording.weights[layer][:, :, None] * values


def head_position_vectors(
    block: Block, recording: Recording
) -> Float[Tensor, "heads tokens d_model"]:
    """What each head adds to the last position's stream from each source position (Eq. 7)."""
    scalars = value_scalars(block, recording, block.index)
    weight = block.o.weight(scalars.dtype).to(scalars.device)
    weight = weight.unflatten(1, (block.n_heads, block.head_dim))
    raw = torch.einsum("jpk,djk->jpd", scalars, weight)
    return added_attention(block, raw, recording.raw_attention[block.index, -1])


def through_head(
    block: Block,
    head: int,
    vectors: Float[Tensor, "n d_model"],
    state: Float[Tensor, " d_model"],
) -> Float[Tensor, "n d_model"]:
    """What a head writes, per unit of attention, for vectors in the stream that it reads.

    W^o_j W^v_j n(u), with the attention norm n frozen to `state`; biases and a post-norm's
    scale left out.

    Args:
        block: The head's block.
        head: Query head j.
        vectors: Parts u of the residual stream at a source position.
        state: The whole state at that position, the block's input.
    """
    norm = block.attention_norm
    read = vectors if norm is None else norm.frozen(vectors, state)
    group, width = block.n_heads // block.n_kv_heads, block.head_dim
    rows = slice(head // group * width, (head // group + 1) * width)
    value = block.v.weight(vectors.dtype).to(vectors.device)[rows]
    output = block.o.weight(vectors.dtype).to(vectors.device)[:, head * width : (head + 1) * width]
    return _through(block.attention_post_norm, (read @ value.T @ output.T).T).T


def split_units(
    units: Int[Tensor, " n"], widths: list[int]
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Layer and neuron of units numbered through all layers."""
    starts = torch.tensor([0, *widths], device=units.device).cumsum(0)
    layers = torch.bucketize(units, starts[1:], right=True)
    return layers, units - starts[layers]


def _through(norm: Norm | None, weight: Tensor) -> Tensor:
    if norm is None:
        return weight
    if norm.centred:
        weight = weight - weight.mean(0, keepdim=True)
    return norm.gain.to(weight)[:, None] * weight


def _factor(norm: Norm | None, block: Block, raw: Tensor) -> Tensor:
    scale = raw.new_tensor(block.residual_scale)
    return scale if norm is None else scale / norm.scale(raw).squeeze(-1)


@dataclass(frozen=True)
class AttentionUnits:
    """Attention neurons by their place: one row per unit.

    Attributes:
        layer: Layer of each unit.
        head: Query head.
        position: Source position.
        dimension: Dimension k inside the head; -1 for a whole head at a position.
    """

    layer: Int[Tensor, " n"]
    head: Int[Tensor, " n"]
    position: Int[Tensor, " n"]
    dimension: Int[Tensor, " n"]


def place(units: Int[Tensor, " n"], shape: tuple[int, int, int, int]) -> AttentionUnits:
    """Layer, head, position and dimension of units numbered in that order."""
    _, heads, tokens, dims = shape
    return AttentionUnits(
        layer=units // (heads * tokens * dims),
        head=units // (tokens * dims) % heads,
        position=units // dims % tokens,
        dimension=units % dims,
    )
