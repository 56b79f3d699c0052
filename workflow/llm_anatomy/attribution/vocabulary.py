"""The fourth paper's eight methods as scores of units (papers/facts, section 4.1).

Each asks what a unit's vector m·v at the last position says of the answer's token, without asking
what later layers make of it:

    log_prob_increase   log p(w | m v + x) - log p(w | x)     x the state before the unit's sublayer
    prob_increase       p(w | m v + x) - p(w | x)
    log_prob            log p(w | m v)
    norm, coefficient, coefficient_norm                       |v|, |m|, |m| |v|
    inverse_rank, coefficient_rank                            1 / rank_w(v), |m| / rank_w(v)

For an attention neuron m is summed over source positions. A head writes a sum of columns, which has
no coefficient and no column of its own: of the last five it has |m v| alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.attribution.pairs import FactPair
from llm_anatomy.config.attribution import UnitKind, VocabularyMethod
from llm_anatomy.config.facts import Attribution
from llm_anatomy.facts.importance import Fact, fact_of, ffn_coefficients
from llm_anatomy.facts.methods import RANKED, TokenRanks
from llm_anatomy.facts.readout import TargetToken
from llm_anatomy.facts.record import record_prompts
from llm_anatomy.facts.search import CHUNK, certified_best
from llm_anatomy.facts.subvalues import Subvalues
from llm_anatomy.model.parts.architecture import Decoder

# What a head has no number for.
OF_NEURONS: tuple[str, ...] = ("norm", "coefficient", *RANKED)


@dataclass(frozen=True)
class Written:
    """What every unit of a kind writes at the last position of one prompt, layer after layer.

    Attributes:
        coefficients: m; 1 for heads.
        sizes: |v|.
        bases: Number of the state before the unit's sublayer (`Fact.states`).
        vectors: m·v of the units whose numbers it is given.
        pull: m·v · g of every unit, for a vector g of every layer [layers, d_model].
    """

    coefficients: Float[Tensor, " units"]
    sizes: Float[Tensor, " units"]
    bases: Int[Tensor, " units"]
    vectors: Callable[[Tensor], Tensor]
    pull: Callable[[Tensor], Tensor]


def defined(method: str, kind: UnitKind) -> bool:
    """Whether a method has a number for units of a kind."""
    return kind != "head" or method not in OF_NEURONS


@torch.no_grad()
def vocabulary_scores(
    decoder: Decoder,
    pairs: Sequence[FactPair],
    kind: UnitKind,
    methods: Sequence[VocabularyMethod],
    exact: int | None,
    batch_tokens: int,
) -> dict[VocabularyMethod, Float[Tensor, "facts units"]]:
    """Scores of every unit by some methods, units in the order of `all_units`.

    Args:
        decoder: The model.
        pairs: The facts, whose counterfactuals these methods do not look at.
        kind: Which units.
        methods: The methods, all of them defined for the kind.
        exact: Units of a fact whose increase or log-probability is computed, those with the
            highest of them; the others take its upper bound, m·v · ∇ log p, but no more than the
            least of the computed ones. None computes all.
        batch_tokens: Most tokens in one pass.
    """
    subvalues = Subvalues(decoder)
    ranks = None
    if set(methods) & set(RANKED):
        columns = subvalues.ffn if kind == "ffn_neuron" else subvalues.attention
        ranks = TokenRanks(subvalues, [pair.answer for pair in pairs], columns)
    found: dict[VocabularyMethod, list[Tensor]] = {
        method: [torch.empty(0)] * len(pairs) for method in methods
    }
    for row, recording in record_prompts(decoder, [p.tokens for p in pairs], batch_tokens):
        fact = fact_of(recording, TargetToken(pairs[row].answer), subvalues, Attribution())
        written = written_by(fact, kind)
        for method in methods:
            found[method][row] = _scores(fact, written, method, exact, ranks).double().cpu()
    return {method: torch.stack(rows) for method, rows in found.items()}


def written_by(fact: Fact, kind: UnitKind) -> Written:
    """What the units of a kind write in one prompt."""
    subvalues = fact.subvalues
    if kind == "ffn_neuron":
        m = ffn_coefficients(fact)
        return Written(
            m,
            subvalues.ffn_norms,
            _bases(subvalues.widths, 1, m.device),
            lambda units: m[units][:, None] * subvalues.ffn_columns(units),
            lambda g: m * torch.cat([c.T @ own for c, own in zip(subvalues.ffn, g, strict=True)]),
        )
    if kind == "head":
        vectors = fact.head_vectors.sum(2)
        flat = vectors.flatten(0, 1)
        return Written(
            flat.new_ones(len(flat)),
            flat.norm(dim=-1),
            _bases([vectors.shape[1]] * len(vectors), 0, flat.device),
            lambda units: flat[units],
            lambda g: torch.einsum("ljd,ld->lj", vectors, g).flatten(),
        )
    layers = range(fact.recording.n_layers)
    scalars = [
        subvalues.attention_coefficients(fact.recording, layer).sum(1).flatten() for layer in layers
    ]
    m, width = torch.cat(scalars), len(scalars[0])
    return Written(
        m,
        torch.cat([columns.norm(dim=0) for columns in subvalues.attention]),
        _bases([width] * len(scalars), 0, m.device),
        lambda units: (
            m[units][:, None] * subvalues.attention_columns(units // width, units % width)
        ),
        lambda g: m * torch.cat([c.T @ own for c, own in zip(subvalues.attention, g, strict=True)]),
    )


def _bases(widths: Sequence[int], which: int, device: torch.device) -> Int[Tensor, " units"]:
    """Of every unit the state before attention (0) or before the FFN (1) of its layer."""
    layers = torch.arange(len(widths), device=device)
    return (2 * layers + which).repeat_interleave(torch.tensor(widths, device=device))


def _scores(
    fact: Fact,
    written: Written,
    method: VocabularyMethod,
    exact: int | None,
    ranks: TokenRanks | None,
) -> Float[Tensor, " units"]:
    if method in RANKED:
        assert ranks is not None
        rank = ranks.of(fact.target.token)
        return (written.coefficients.abs() if method == "coefficient_rank" else 1.0) / rank
    if method == "norm":
        return written.sizes
    if method == "coefficient":
        return written.coefficients.abs()
    if method == "coefficient_norm":
        return written.coefficients.abs() * written.sizes
    if method == "log_prob":
        return _log_prob(fact, written, exact)
    layers = written.bases // 2
    gradients = fact.attention_gradients if int(written.bases[0]) == 0 else fact.ffn_gradients
    bounds = written.pull(gradients) if fact.bounded else None

    def increase(units: Tensor) -> Tensor:
        return fact.increase(written.vectors(units), written.bases[units])

    if method == "log_prob_increase":
        return _completed(len(layers), bounds, increase, exact)
    # Monotone in the log-probability increase at a given state, so that the bound carries over.
    before = fact.scores[written.bases].exp().to(written.sizes)
    return _completed(
        len(layers),
        None if bounds is None else before * bounds.expm1(),
        lambda units: before[units] * increase(units).expm1(),
        exact,
    )


def _log_prob(fact: Fact, written: Written, exact: int | None) -> Float[Tensor, " units"]:
    origin = torch.zeros_like(fact.states[:1])

    def log_prob(units: Tensor) -> Tensor:
        return fact.readout.scores(written.vectors(units), fact.target)

    bounds = None
    if fact.bounded:
        at_origin = fact.readout.log_probabilities(origin).exp()
        gradient = fact.readout.gradient(at_origin, fact.target)
        bounds = fact.readout.scores(origin, fact.target) + written.pull(
            gradient.expand(fact.recording.n_layers, -1)
        )
    return _completed(len(written.sizes), bounds, log_prob, exact)


def _completed(
    count: int,
    bounds: Float[Tensor, " units"] | None,
    evaluate: Callable[[Tensor], Tensor],
    exact: int | None,
) -> Float[Tensor, " units"]:
    if bounds is None or exact is None or exact >= count:
        return torch.cat([evaluate(units) for units in torch.arange(count).split(CHUNK)])
    best = certified_best(bounds, evaluate, exact)
    # Below the least of the best, not level with it: ties would go by the units' numbers.
    least = torch.nextafter(best.values[-1], best.values.new_tensor(-torch.inf))
    scores = bounds.minimum(least)
    scores[best.units] = best.values
    return scores
