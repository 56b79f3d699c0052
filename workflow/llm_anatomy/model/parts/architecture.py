"""The parts of a decoder: blocks, projections, norms, head.

`resolve.py` finds them in a module tree; it and `families.py` are the only places that know how
model families name and fuse their parts. Every other module speaks in these terms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.norm import Norm
from llm_anatomy.model.parts.projection import Projection, input_features
from llm_anatomy.statistics.rounding import Identity, accepted

NOT_COVERED = (
    "which the formulas of this study do not cover; choose another model, or leave this study out "
    "of `studies` (patching, for one, needs no such parts)"
)


@dataclass(frozen=True)
class Mlp:
    """The MLP of a block: `down(act(gate x) * up x)`, or `down(act(up x))` without a gate."""

    gate: Projection | None
    up: Projection
    down: Projection
    activation: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AttentionParts:
    """The projections of a block's attention: query, key, value and output.

    Attributes:
        q: Query rows; `k`, `v` and `o` likewise. Grouped-query attention has fewer k and v rows.
        n_heads: Query heads.
        n_kv_heads: Key and value heads.
        head_dim: Features per head.
    """

    q: Projection
    k: Projection
    v: Projection
    o: Projection
    n_heads: int
    n_kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class Block:
    """One decoder block.

    In every family it adds two vectors to the residual stream,
    `A = residual_scale * post_norm(o(...))` and `F = residual_scale * post_norm(down(...))`;
    hook `o.module` and `down.module`. Parts that are not there, or not proven to compute what the
    studies' formulas say, are refused when a study asks for them, with the reason.

    Attributes:
        index: Layer number, from 0.
        module: The transformers module.
        attention: The attention module.
        projections: Attention's parts, None where there are none; studies ask for `q`, `k`, … .
        mlp: The MLP's parts, None where there are none; studies ask for `gate`, `up`, … .
        attention_norm: Norm before attention, or None.
        mlp_norm: Norm before the MLP, or None; the same as `attention_norm` where they share.
        attention_post_norm: Norm on attention's output (Gemma 2, OLMo-2), or None.
        mlp_post_norm: Norm on the MLP's output, or None.
        parallel: Whether the MLP reads the block's input instead of the state after attention.
        residual_scale: Factor on both outputs (Granite), else 1.
        attention_refusal: Why attention's parts are not for the studies' formulas, or None.
        mlp_refusal: Why the MLP's parts are not, or None.
    """

    index: int
    module: nn.Module
    attention: nn.Module
    projections: AttentionParts | None
    mlp: Mlp | None
    attention_norm: Norm | None
    mlp_norm: Norm | None
    attention_post_norm: Norm | None
    mlp_post_norm: Norm | None
    parallel: bool
    residual_scale: float
    attention_refusal: str | None = None
    mlp_refusal: str | None = None

    def proven_attention(self) -> AttentionParts:
        """Attention's parts, which compute what the studies' formulas say.

        Raises:
            UserError: They are not there, or they do not.
        """
        if self.projections is None or self.attention_refusal is not None:
            raise UserError(f"{self.attention_refusal}, {NOT_COVERED}")
        return self.projections

    def _dense_mlp(self) -> Mlp:
        if self.mlp is None or self.mlp_refusal is not None:
            raise UserError(f"{self.mlp_refusal}, {NOT_COVERED}")
        return self.mlp

    @property
    def q(self) -> Projection:
        """The query projection."""
        return self.proven_attention().q

    @property
    def k(self) -> Projection:
        """The key projection; grouped-query attention has fewer rows than of queries."""
        return self.proven_attention().k

    @property
    def v(self) -> Projection:
        """The value projection."""
        return self.proven_attention().v

    @property
    def o(self) -> Projection:
        """The output projection; its weight's columns are the attention subvalues."""
        return self.proven_attention().o

    @property
    def n_heads(self) -> int:
        """Query heads."""
        return self.proven_attention().n_heads

    @property
    def n_kv_heads(self) -> int:
        """Key and value heads."""
        return self.proven_attention().n_kv_heads

    @property
    def head_dim(self) -> int:
        """Features per head."""
        return self.proven_attention().head_dim

    @property
    def gate(self) -> Projection | None:
        """The gate projection, or None for an MLP without one."""
        return self._dense_mlp().gate

    @property
    def up(self) -> Projection:
        """The up projection (fc1)."""
        return self._dense_mlp().up

    @property
    def down(self) -> Projection:
        """The down projection (fc2); its weight's columns are the FFN subvalues."""
        return self._dense_mlp().down

    @property
    def activation(self) -> Callable[[Tensor], Tensor]:
        """The MLP's nonlinearity."""
        return self._dense_mlp().activation

    @property
    def preactivation(self) -> Projection:
        """The projection whose output the nonlinearity reads: the gate, or up without a gate."""
        mlp = self._dense_mlp()
        return mlp.gate or mlp.up

    @property
    def n_neurons(self) -> int:
        """MLP neurons of this layer."""
        return self.up.out_features


@dataclass(frozen=True)
class Decoder:
    """A decoder language model with its parts resolved.

    Attributes:
        model: The transformers model, in evaluation mode.
        config: Its text configuration.
        body: The model without its LM head; returns the normalised final states.
        blocks: The decoder blocks in order.
        final_norm: The norm before the LM head.
        head: The LM head (unembedding).
        logit_scale: Factor on the logits (Cohere, Granite), else 1.
        logit_softcap: Cap `c` of `c * tanh(logits / c)` (Gemma 2), or None.
        token_rows: First rows of the head, behind which none has a token; None for all of them.
        tokenless: Those of the first rows that have no token either: gaps in the vocabulary.
    """

    model: Any
    config: Any
    body: nn.Module
    blocks: tuple[Block, ...]
    final_norm: Norm
    head: Projection
    logit_scale: float
    logit_softcap: float | None
    token_rows: int | None = None
    tokenless: tuple[int, ...] = ()

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return input_features(self.head.module)

    @property
    def vocab_size(self) -> int:
        """Rows of the LM head up to the last that has a token.

        Heads are padded to a multiple of a power of two. The rows behind the last token are no
        words, so that no study ranks them, and no probability counts them. Rows in front of it
        without a token (`tokenless`) keep their places, so that logits are found by token id.
        """
        return self.token_rows or self.head.out_features

    @property
    def device(self) -> torch.device:
        """Where the input ids go."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the model's activations."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    def accepted(self, identity: Identity) -> float:
        """The largest error of an identity that is rounding in this model's data type."""
        quantised = bool(getattr(self.model, "is_quantized", False))
        return accepted(identity, str(self.dtype).removeprefix("torch."), quantised)
