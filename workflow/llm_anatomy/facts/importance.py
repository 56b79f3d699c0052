"""Importance of layers, heads, positions and neurons: log-probability increase (Eq. 13).

For an attention unit v of layer l the base is the state that enters the layer, for an FFN unit the
state after attention:

    Imp(v) = log p(w | v + h^{l-1}) - log p(w | h^{l-1})                 attention
    Imp(v) = log p(w | v + h^{l-1} + A^l) - log p(w | h^{l-1} + A^l)     FFN

Layer scores telescope: Σ_l Imp(A^l) + Imp(F^l) = log p(w | h^L) - log p(w | h^0). Parallel blocks
add A first here, which changes what each of the two is given, not their sum.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.config.facts import Attribution
from llm_anatomy.facts.readout import CHUNK, Readout, TargetToken
from llm_anatomy.facts.record import Recording
from llm_anatomy.facts.search import Best, certified_best, exhaustive_best
from llm_anatomy.facts.subvalues import (
    AttentionUnits,
    Subvalues,
    head_position_vectors,
    place,
    split_units,
)
from llm_anatomy.model.run.logprobs import log_normaliser
from llm_anatomy.model.run.readout import unembedding_of


@dataclass(frozen=True)
class Fact:
    """A prompt with its target: everything that importance is computed from.

    Attributes:
        recording: The prompt's residual stream.
        readout: Its projection to the vocabulary.
        target: What is explained.
        subvalues: The model's subvalues.
        certify: Whether the best units are found by the bound where it holds.
    """

    recording: Recording
    readout: Readout
    target: TargetToken
    subvalues: Subvalues
    certify: bool = True

    @cached_property
    def states(self) -> Float[Tensor, "steps d_model"]:
        """h^0, h^0 + A^0, … of the last position; layer l's bases are 2l and 2l + 1."""
        return self.recording.states()

    @cached_property
    def logits(self) -> Float[Tensor, "steps vocab"]:
        """Logits of every token at every state (logit lens)."""
        return self.readout.logits(self.states)

    @cached_property
    def probabilities(self) -> Float[Tensor, "steps vocab"]:
        """Probabilities of every token at every state."""
        logs = self.logits.double() - log_normaliser(self.logits)[:, None]
        return logs.exp_().to(self.logits)

    @cached_property
    def scores(self) -> Float[Tensor, " steps"]:
        """Score of every state, float64."""
        chosen = self.logits[:, self.target.token].double()
        if self.target.contrast is not None:
            return chosen - self.logits[:, self.target.contrast]
        return chosen - log_normaliser(self.logits)

    @cached_property
    def attention_gradients(self) -> Float[Tensor, "layers d_model"]:
        """Gradient of the score at the base of every layer's attention."""
        return self.readout.gradient(self.probabilities[0:-1:2], self.target)

    @cached_property
    def ffn_gradients(self) -> Float[Tensor, "layers d_model"]:
        """Gradient of the score at the base of every layer's FFN."""
        return self.readout.gradient(self.probabilities[1::2], self.target)

    @cached_property
    def head_vectors(self) -> Float[Tensor, "layers heads tokens d_model"]:
        """What each head adds from each source position."""
        blocks = self.subvalues.decoder.blocks
        return torch.stack([head_position_vectors(block, self.recording) for block in blocks])

    @property
    def bounded(self) -> bool:
        """Whether the concavity bound is asked for and holds."""
        return self.certify and self.readout.affine

    def increase(
        self, vectors: Float[Tensor, "n d_model"], bases: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """Imp of vectors, each added to the state with the given number.

        From what each changes in the logits: the difference of two log-probabilities would carry
        the rounding of both, of which the base's is the same for every unit of a layer.
        """
        increases = vectors.new_empty(len(vectors))
        # Vectors with one base lie together. Parts of equal size: a short last one would be as
        # slow as a long one.
        order = bases.argsort(stable=True)
        for part in order.tensor_split(-(-len(order) // CHUNK)) if len(order) else ():
            at = bases[part]
            out = self.readout.unembedding.scratch(len(part))
            changes = self.readout.changes(vectors[part], self.states[at], out)
            steps, counts = at.unique_consecutive(return_counts=True)
            same_base = changes.split(counts.tolist())
            increases[part] = torch.cat(
                [
                    self.readout.score_changes(
                        rows, self.logits[step], self.probabilities[step], self.target
                    )
                    for step, rows in zip(steps.tolist(), same_base, strict=True)
                ]
            )
        return increases


def fact_of(
    recording: Recording, target: TargetToken, subvalues: Subvalues, settings: Attribution
) -> Fact:
    """A recorded prompt, ready for attribution."""
    unembedding = unembedding_of(subvalues.decoder)
    readout = Readout(unembedding, recording.states()[-1], settings.norm)
    return Fact(recording, readout, target, subvalues, settings.search == "certified")


def layer_importance(fact: Fact) -> Float[Tensor, "layers 2"]:
    """Imp(A^l) and Imp(F^l) of every layer."""
    steps: Tensor = fact.scores.diff().unflatten(0, (-1, 2))
    return steps


def head_importance(fact: Fact) -> Float[Tensor, "layers heads"]:
    """Imp of every head: its output summed over source positions."""
    return _per_layer(fact, fact.head_vectors.sum(2))


def position_importance(fact: Fact) -> Float[Tensor, "layers tokens"]:
    """Imp of every source position: attention's output from it, summed over heads."""
    return _per_layer(fact, fact.head_vectors.sum(1))


def _per_layer(fact: Fact, vectors: Tensor) -> Tensor:
    layers, units, _ = vectors.shape
    bases = 2 * torch.arange(layers, device=vectors.device).repeat_interleave(units)
    increases: Tensor = fact.increase(vectors.flatten(0, 1), bases).unflatten(0, (layers, units))
    return increases


def best_head_positions(fact: Fact, count: int) -> tuple[AttentionUnits, Best]:
    """The pairs of head and source position with the highest Imp."""
    vectors = fact.head_vectors
    flat = vectors.flatten(0, 2)
    layers, heads, tokens, _ = vectors.shape

    def evaluate(units: Tensor) -> Tensor:
        return fact.increase(flat[units], 2 * (units // (heads * tokens)))

    if fact.bounded:
        bounds = torch.einsum("ljpd,ld->ljp", vectors, fact.attention_gradients).flatten()
        best = certified_best(bounds, evaluate, count)
    else:
        best = exhaustive_best(len(flat), evaluate, count)
    at = place(best.units, (layers, heads, tokens, 1))
    whole = torch.full_like(at.dimension, -1)
    return AttentionUnits(at.layer, at.head, at.position, whole), best


def ffn_coefficients(fact: Fact) -> Float[Tensor, " units"]:
    """What multiplies every FFN subvalue at the last position, layer after layer."""
    layers = range(fact.recording.n_layers)
    return torch.cat([fact.subvalues.ffn_coefficients(fact.recording, k) for k in layers])


def ffn_increase(
    fact: Fact, coefficients: Float[Tensor, " units"], units: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Imp of FFN neurons that are numbered through all layers."""
    layers, _ = split_units(units, fact.subvalues.widths)
    vectors = coefficients[units][:, None] * fact.subvalues.ffn_columns(units)
    return fact.increase(vectors, 2 * layers + 1)


def ffn_bounds(fact: Fact, coefficients: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
    """Upper bound of Imp of every FFN neuron: m_k fc2_k · ∇log p(w | h + A)."""
    pulls = [
        columns.T @ fact.ffn_gradients[layer] for layer, columns in enumerate(fact.subvalues.ffn)
    ]
    return coefficients * torch.cat(pulls)


def best_ffn_neurons(fact: Fact, count: int) -> Best:
    """The FFN neurons with the highest Imp, numbered through all layers."""
    coefficients = ffn_coefficients(fact)

    def evaluate(units: Tensor) -> Tensor:
        return ffn_increase(fact, coefficients, units)

    if fact.bounded:
        return certified_best(ffn_bounds(fact, coefficients), evaluate, count)
    return exhaustive_best(len(coefficients), evaluate, count)


def best_attention_neurons(fact: Fact, count: int) -> tuple[AttentionUnits, Best]:
    """The attention neurons (layer, head, source position, dimension) with the highest Imp."""
    scalars = torch.stack(
        [
            fact.subvalues.attention_coefficients(fact.recording, k)
            for k in range(fact.recording.n_layers)
        ]
    )
    layers, heads, tokens, dims = scalars.shape
    shape = (layers, heads, tokens, dims)
    flat = scalars.flatten()

    def evaluate(units: Tensor) -> Tensor:
        at = place(units, shape)
        columns = fact.subvalues.attention_columns(at.layer, at.head * dims + at.dimension)
        return fact.increase(flat[units][:, None] * columns, 2 * at.layer)

    if fact.bounded:
        pulls = torch.stack(
            [
                columns.T @ fact.attention_gradients[layer]
                for layer, columns in enumerate(fact.subvalues.attention)
            ]
        ).unflatten(1, (heads, 1, dims))
        best = certified_best((scalars * pulls).flatten(), evaluate, count)
    else:
        best = exhaustive_best(len(flat), evaluate, count)
    return place(best.units, shape), best
