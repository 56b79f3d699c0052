"""Eight ways to rank FFN neurons, behind one interface (section 4.1).

With v = fc2_k, m its coefficient at the last position, x the state before the neuron's layer adds
its MLP output, and w the target token:

    log_prob_increase   log p(w | m v + x) - log p(w | x)
    log_prob            log p(w | m v)
    prob_increase       p(w | m v + x) - p(w | x)
    norm                |v|
    coefficient         |m|
    inverse_rank        1 / rank_w(v)
    coefficient_norm    |m| |v|
    coefficient_rank    |m| / rank_w(v)
"""

import math
from collections.abc import Callable, Sequence
from typing import get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.config.attribution import VocabularyMethod as Method
from llm_anatomy.facts.importance import Fact, ffn_bounds, ffn_coefficients, ffn_increase
from llm_anatomy.facts.readout import Readout, TargetToken
from llm_anatomy.facts.search import CHUNK, Best, Evaluate, certified_best, exhaustive_best
from llm_anatomy.facts.subvalues import Columns, Subvalues
from llm_anatomy.model.run.readout import unembedding_of

METHODS: tuple[Method, ...] = get_args(Method)
RANKED = ("inverse_rank", "coefficient_rank")


class TokenRanks:
    """Rank of some tokens in the projection of every FFN subvalue, and of its negative.

    One pass over all subvalues for all tokens; the final norm's scale does not change ranks.

    Args:
        subvalues: The model's subvalues.
        tokens: The tokens.
        matrices: Columns to rank them in, instead of those of the FFN.
    """

    def __init__(
        self,
        subvalues: Subvalues,
        tokens: Sequence[int],
        matrices: Columns | None = None,
    ) -> None:
        self.tokens = sorted(set(tokens))
        unembedding = unembedding_of(subvalues.decoder)
        above: list[Tensor] = []
        below: list[Tensor] = []
        for columns in subvalues.ffn if matrices is None else matrices:
            for vectors in columns.T.split(CHUNK):
                readout = Readout(unembedding, vectors[0])
                # Not a number is neither above another nor below it.
                logits = unembedding.without_tokenless(readout.bs_values(vectors), math.nan)
                own = logits[:, self.tokens].T[:, :, None]
                above.append(torch.stack([(logits > row).sum(-1) for row in own]))
                below.append(torch.stack([(logits < row).sum(-1) for row in own]))
        self._top = torch.cat(above, 1) + 1
        self._bottom = torch.cat(below, 1) + 1

    def of(self, token: int, signs: Float[Tensor, " units"] | None = None) -> Int[Tensor, " units"]:
        """Rank of a token from 1 in v, or with coefficients' signs in m·v."""
        row = self.tokens.index(token)
        if signs is None:
            return self._top[row]
        return torch.where(signs < 0, self._bottom[row], self._top[row])


def best_by_method(
    fact: Fact,
    method: Method,
    count: int,
    ranks: TokenRanks | None = None,
    signed_rank: bool = False,
) -> Best:
    """The FFN neurons with the highest scores by a method, numbered through all layers.

    Raises:
        ValueError: The method needs ranks and none are given.
    """
    m = ffn_coefficients(fact)
    if method == "log_prob_increase":
        return _best(
            fact,
            count,
            lambda units: ffn_increase(fact, m, units),
            lambda: ffn_bounds(fact, m),
        )
    if method == "prob_increase":
        return _best_prob_increase(fact, m, count)
    if method == "log_prob":
        return _best_log_prob(fact, m, count)
    if method in RANKED:
        if ranks is None:
            raise ValueError(f"the method '{method}' needs token ranks")
        rank = ranks.of(fact.target.token, m if signed_rank else None)
        scores = (m.abs() if method == "coefficient_rank" else torch.ones_like(m)) / rank
    else:
        scores = m.abs() if method.startswith("coefficient") else torch.ones_like(m)
        if method.endswith("norm"):
            scores = scores * fact.subvalues.ffn_norms
    return exhaustive_best(len(m), lambda units: scores[units], count)


def _best(fact: Fact, count: int, evaluate: Evaluate, bounds: Callable[[], Tensor]) -> Best:
    if fact.bounded:
        return certified_best(bounds(), evaluate, count)
    return exhaustive_best(sum(fact.subvalues.widths), evaluate, count)


def _best_prob_increase(fact: Fact, m: Tensor, count: int) -> Best:
    # Monotone in the log-probability increase at a given base, so the bound carries over:
    # p(w | x + v) - p(w | x) = p(w | x) (exp(Imp) - 1).
    plain = fact
    if fact.target.contrast is not None:
        target = TargetToken(fact.target.token)
        plain = Fact(fact.recording, fact.readout, target, fact.subvalues, fact.certify)
    base = torch.cat(
        [
            plain.scores[2 * layer + 1].exp().to(m).expand(width)
            for layer, width in enumerate(fact.subvalues.widths)
        ]
    )
    return _best(
        plain,
        count,
        lambda units: base[units] * ffn_increase(plain, m, units).expm1(),
        lambda: base * ffn_bounds(plain, m).expm1(),
    )


def _best_log_prob(fact: Fact, m: Tensor, count: int) -> Best:
    target = TargetToken(fact.target.token)
    origin = torch.zeros_like(fact.states[:1])

    def evaluate(units: Tensor) -> Tensor:
        vectors = m[units][:, None] * fact.subvalues.ffn_columns(units)
        return fact.readout.scores(vectors, target)

    def bounds() -> Tensor:
        pull = fact.readout.gradient(fact.readout.log_probabilities(origin).exp(), target)[0]
        rise = m * torch.cat([columns.T @ pull for columns in fact.subvalues.ffn])
        return fact.readout.scores(origin, target) + rise

    return _best(fact, count, evaluate, bounds)
