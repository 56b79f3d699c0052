"""The residual stream of a prompt as the sum of its parts (Eq. 1 and 7), recorded by hooks.

h^L = h^0 + Σ_l (A^l + F^l), with A^l and F^l as the model adds them: output biases, post-norms and
the residual scale included.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Block, Decoder
from llm_anatomy.model.parts.norm import Norm
from llm_anatomy.model.run.attention import record_attention
from llm_anatomy.model.run.batching import equal_length_batches
from llm_anatomy.model.run.hooks import hidden_input, hooked
from llm_anatomy.model.run.logprobs import log_probabilities
from llm_anatomy.model.run.readout import computing_type, unembedding_of


@dataclass(frozen=True)
class Recording:
    """One prompt's residual stream, in float32 or wider.

    Attributes:
        tokens: The prompt's token ids.
        start: h^0, the embedding, of every position.
        attention: A^l of every layer and position.
        ffn: F^l of every layer and position.
        coefficients: Per layer, the input of the down projection: m of Eq. 6 [tokens, neurons].
        weights: Per layer, attention weights of the last position [heads, tokens].
        values: Per layer, value states [kv_heads, tokens, head_dim].
        raw_attention: Output of the o projection before any post-norm [layers, tokens, d_model].
        raw_ffn: Output of the down projection before any post-norm.
        log_probabilities: The model's own log-probabilities of the next token.
    """

    tokens: Int[Tensor, " tokens"]
    start: Float[Tensor, "tokens d_model"]
    attention: Float[Tensor, "layers tokens d_model"]
    ffn: Float[Tensor, "layers tokens d_model"]
    coefficients: tuple[Float[Tensor, "tokens _"], ...]
    weights: tuple[Float[Tensor, "_ tokens"], ...]
    values: tuple[Float[Tensor, "_ tokens _"], ...]
    raw_attention: Float[Tensor, "layers tokens d_model"]
    raw_ffn: Float[Tensor, "layers tokens d_model"]
    log_probabilities: Float[Tensor, " vocab"]

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.attention)

    def states(self, position: int = -1) -> Float[Tensor, "steps d_model"]:
        """h^0, h^0 + A^0, h^0 + A^0 + F^0, …, h^L of one position: 2L + 1 states."""
        return self.parts(position).cumsum(0)

    def parts(self, position: int = -1) -> Float[Tensor, "steps d_model"]:
        """h^0, A^0, F^0, A^1, …, F^(L-1) of one position: 2L + 1 vectors that sum to h^L."""
        layers = torch.stack([self.attention[:, position], self.ffn[:, position]], 1)
        return torch.cat([self.start[position][None], layers.flatten(0, 1)])


def record_facts(
    decoder: Decoder, facts: pd.DataFrame, batch_tokens: int
) -> Iterator[tuple[int, Recording]]:
    """Run the prompts of a table `facts/facts`; yield each row's number and recording."""
    ids = [[int(token) for token in tokens] for tokens in facts["tokens"]]
    return record_prompts(decoder, ids, batch_tokens)


def record_prompts(
    decoder: Decoder, ids: Sequence[Sequence[int]], batch_tokens: int
) -> Iterator[tuple[int, Recording]]:
    """Run prompts in batches; yield each prompt's index and recording.

    Raises:
        UserError: The recorded parts do not sum to the model's final state.
    """
    for batch in equal_length_batches(ids, batch_tokens, device=decoder.device):
        recorder = _Recorder(decoder)
        with (
            torch.no_grad(),
            hooked(forward=recorder.forward, pre=recorder.pre),
            record_attention(decoder, batch.last[:, None]) as records,
        ):
            body = decoder.body(input_ids=batch.input_ids, use_cache=False)
        # Indices on the CPU fit any card; everything recorded goes to the first one.
        rows = torch.arange(len(batch.rows))
        with torch.no_grad():
            logits = unembedding_of(decoder).unembed(body.last_hidden_state[rows, batch.last.cpu()])
        for row, index in enumerate(batch.rows):
            length = int(batch.lengths[row])
            recording = recorder.recording(row, length, batch.input_ids[row], logits[row])
            recording = _with_attention(recording, records, row, length)
            _check_sum(decoder, recording, recorder.final[row, length - 1].to(recording.start))
            yield index, recording


class _Recorder:
    """Hooks that keep what a forward pass adds to the residual stream."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder, self.dtype = decoder, computing_type(decoder)
        self.outputs: dict[nn.Module, Tensor] = {}
        self.coefficients: dict[nn.Module, Tensor] = {}
        self.start = self.final = torch.empty(0)
        blocks = decoder.blocks
        self.forward = {
            module: self._keep for b in blocks for module in (b.o.module, b.down.module)
        }
        self.pre: dict[nn.Module, Any] = {b.down.module: self._keep_input for b in blocks}
        self.pre[blocks[0].module] = self._keep_start
        self.pre[decoder.final_norm.module] = self._keep_final

    def _keep(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        # A copy: Falcon adds attention's output to the MLP's in place.
        self.outputs[module] = output.clone()

    def _keep_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        self.coefficients[module] = hidden_input(args, kwargs)

    def _keep_start(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        self.start = hidden_input(args, kwargs)

    def _keep_final(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        self.final = hidden_input(args, kwargs)

    def recording(self, row: int, length: int, tokens: Tensor, logits: Tensor) -> Recording:
        def of_row(recorded: Tensor) -> Tensor:
            # Some families flatten batch and positions before the down projection.
            if recorded.ndim == 2:
                recorded = recorded.reshape(*self.start.shape[:2], -1)
            return recorded[row, :length].to(self.decoder.device, self.dtype)

        blocks = self.decoder.blocks
        o = [of_row(self.outputs[b.o.module]) for b in blocks]
        down = [of_row(self.outputs[b.down.module]) for b in blocks]
        return Recording(
            tokens=tokens[:length],
            start=of_row(self.start),
            attention=torch.stack(
                [added_attention(b, x, x) for b, x in zip(blocks, o, strict=True)]
            ),
            ffn=torch.stack([added_ffn(b, x, x) for b, x in zip(blocks, down, strict=True)]),
            coefficients=tuple(of_row(self.coefficients[b.down.module]) for b in blocks),
            weights=(),
            values=(),
            raw_attention=torch.stack(o),
            raw_ffn=torch.stack(down),
            log_probabilities=log_probabilities(logits),
        )


def added_attention(
    block: Block, vectors: Float[Tensor, "*n d_model"], raw: Float[Tensor, "*m d_model"]
) -> Float[Tensor, "*n d_model"]:
    """What a part of the o projection's output adds to the residual stream.

    Args:
        block: The block.
        vectors: Parts of its o projection's output.
        raw: The whole output, which sets the scale of a post-norm.
    """
    return _added(block.attention_post_norm, block.residual_scale, vectors, raw)


def added_ffn(
    block: Block, vectors: Float[Tensor, "*n d_model"], raw: Float[Tensor, "*m d_model"]
) -> Float[Tensor, "*n d_model"]:
    """What a part of the down projection's output adds to the residual stream."""
    return _added(block.mlp_post_norm, block.residual_scale, vectors, raw)


def _added(norm: Norm | None, scale: float, vectors: Tensor, raw: Tensor) -> Tensor:
    if norm is not None:
        vectors = norm.frozen(vectors, raw)
    return vectors if scale == 1.0 else vectors * scale


def _with_attention(recording: Recording, records: Any, row: int, length: int) -> Recording:
    layers = range(recording.n_layers)
    return Recording(
        **{name: getattr(recording, name) for name in recording.__dataclass_fields__}
        | {
            "weights": tuple(
                records.weights[k][row, :, 0, :length].to(recording.start) for k in layers
            ),
            "values": tuple(records.values[k][row, :, :length].to(recording.start) for k in layers),
        }
    )


def _check_sum(decoder: Decoder, recording: Recording, final: Tensor) -> None:
    parts = recording.parts()
    size = parts.abs().sum(0).max()
    error = float((parts.sum(0) - final).abs().max() / size)
    allowed = decoder.accepted("parts")
    if not error <= allowed:
        raise UserError(
            f"the model '{type(decoder.model).__name__}' adds something to its residual stream "
            f"beside attention and MLP: its parts miss the final state by {error:.2g} of their "
            f"size, where {allowed:g} is rounding; the facts study cannot take it apart"
        )
