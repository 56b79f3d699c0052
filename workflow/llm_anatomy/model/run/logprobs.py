"""Log-probabilities whose rounding does not add up.

Float32 `log_softmax` over a large vocabulary is off by up to 1.4e-5 on a CPU, mostly to one side
and by the same amount for every token: a difference of two log-probabilities of two such passes
carries the difference of the two errors, and a sum over all neurons of a model carries it 46,080
times. Here normalisers are float64, and small changes are computed as changes, never as the
difference of two large numbers.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Up to this change of every logit, exp(Δ) - 1 keeps all digits; beyond, nothing small is at stake.
SMALL = 1.0


def log_normaliser(logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch"]:
    """Log Σ_t exp(z_t), float64; off by about 1e-7 for float32 logits."""
    top = logits.amax(-1, keepdim=True)
    # `sum` adds in pairs, unlike the loop inside `log_softmax`.
    total = (logits - top).exp_().sum(-1)
    return total.double().log_() + top[..., 0]


def log_probabilities(logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
    """Log p of every token, in the type of the logits."""
    return (logits.double() - log_normaliser(logits)[..., None]).to(logits.dtype)


def token_log_probability(
    logits: Float[Tensor, "*batch vocab"], tokens: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Log p of one token per row, float64."""
    chosen = logits.gather(-1, tokens[..., None])[..., 0]
    return chosen.double() - log_normaliser(logits)


def token_rank(
    logits: Float[Tensor, "*batch vocab"], tokens: Int[Tensor, "*batch"]
) -> Int[Tensor, "*batch"]:
    """Rank of one token per row, from 1; tokens of equal logits share the better rank."""
    return (logits > logits.gather(-1, tokens[..., None])).sum(-1) + 1


def top_tokens(
    values: Float[Tensor, "n vocab"], count: int, largest: bool = True
) -> Int[Tensor, "n count"]:
    """Tokens with the largest or smallest values, the most extreme first; equal ones by token id.

    `topk` alone takes any of equal ones, and says nothing of their order.
    """
    heights = values if largest else -values
    best = heights.topk(count, dim=-1)
    ids, by_id = best.indices.sort(dim=-1)
    order = best.values.gather(-1, by_id).argsort(dim=-1, descending=True, stable=True)
    ids = ids.gather(-1, order)
    # Where others are as large as the last, which of them it is has to be looked up.
    tied = (heights >= best.values[:, -1:]).sum(-1) > count
    for row in tied.nonzero()[:, 0].tolist():
        ids[row] = heights[row].argsort(descending=True, stable=True)[:count]
    return ids


def normaliser_change(
    changes: Float[Tensor, "n vocab"],
    logits: Float[Tensor, " vocab"],
    probabilities: Float[Tensor, " vocab"],
) -> Float[Tensor, " n"]:
    """Log Σ_t exp(z_t + Δ_t) - log Σ_t exp(z_t) = log1p(Σ_t p_t (exp(Δ_t) - 1)).

    Args:
        changes: Δ of every row; overwritten.
        logits: The z that they are added to.
        probabilities: Their softmax.

    Returns:
        Float64; for small changes off by about 1e-7 of them, not of the logits.
    """
    lowest, highest = changes.aminmax(dim=-1)
    large = (torch.maximum(-lowest, highest) > SMALL).nonzero()[:, 0]
    moved = changes[large].double().add_(logits).logsumexp(-1)
    change = changes.expm1_().mul_(probabilities).sum(-1).double().log1p_()
    if len(large):
        change[large] = moved - logits.double().logsumexp(-1)
    return change


class Divergence:
    """KL(clean || other) of next-token distributions.

    KL = Σ_t p_t (z_t - z'_t) - (log Σ exp z - log Σ exp z'), so that equal logits give 0.

    Args:
        clean: Logits z of p, [*rows, vocab].
    """

    def __init__(self, clean: Tensor) -> None:
        self._clean, self._normaliser = clean, log_normaliser(clean)
        self._probabilities = (clean.double() - self._normaliser[..., None]).exp_().to(clean)

    def of(
        self, logits: Float[Tensor, "*batch vocab"], normaliser: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """The divergence of every row from its clean one, in nats, float64; at least 0.

        Args:
            logits: Logits z', of a shape that the clean ones broadcast to.
            normaliser: Their `log_normaliser`.
        """
        moved = (self._clean - logits).mul_(self._probabilities).sum(-1).double()
        return (moved - self._normaliser + normaliser).clamp_min_(0)
