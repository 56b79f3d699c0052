"""Projection of residual-stream vectors into vocabulary space (papers/facts, sections 1.2, 1.3).

bs_w(x) = e_w · n(x), where e_w is row w of the LM head and n the final norm. With the norm's scale
frozen to the one of the prompt's true final state, n is linear: bs(x + v) = bs(x) + bs(v) exactly,
and the scores of parts add up. The norm's and the head's biases are constants that belong to the
base state once and not to each vector.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.config.facts import NormMode
from llm_anatomy.model.run.logprobs import (
    log_normaliser,
    log_probabilities,
    normaliser_change,
    top_tokens,
)
from llm_anatomy.model.run.readout import Unembedding

# Vectors projected at once: more are faster per vector, but hold more logits.
CHUNK = 256


@dataclass(frozen=True)
class TargetToken:
    """What is explained: log p(token), or log p(token) - log p(contrast)."""

    token: int
    contrast: int | None = None


@dataclass(frozen=True)
class Readout:
    """Vectors of one prompt's residual stream to bs-values, and states to log-probabilities.

    Attributes:
        unembedding: The model's final norm and LM head.
        final: The prompt's final residual state h_T^L, before the final norm.
        mode: What the final norm does to a vector.
    """

    unembedding: Unembedding
    final: Float[Tensor, " d_model"]
    mode: NormMode = "frozen"

    @property
    def affine(self) -> bool:
        """Whether logits are affine in the state, so that the concavity bound holds."""
        return self.mode != "per_vector" and self.unembedding.softcap is None

    def normed(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """n(x) without the norm's bias."""
        if self.mode == "none":
            return vectors
        reference = self.final if self.mode == "frozen" else vectors
        return self.unembedding.norm.frozen(vectors, reference)

    def bs_values(
        self, vectors: Float[Tensor, "n d_model"], out: Float[Tensor, "n vocab"] | None = None
    ) -> Float[Tensor, "n vocab"]:
        """bs(v) of vectors: linear in `frozen` and `none` mode (Eq. 9)."""
        return self.unembedding.products(self.normed(vectors), out)

    def logits(
        self, states: Float[Tensor, "n d_model"], out: Float[Tensor, "n vocab"] | None = None
    ) -> Float[Tensor, "n vocab"]:
        """Logits of states, constants and soft-cap included."""
        logits = self.bs_values(states, out)
        if self.mode != "none" and self.unembedding.constant is not None:
            logits += self.unembedding.constant
        return self.unembedding.capped(logits)

    def changes(
        self,
        vectors: Float[Tensor, "n d_model"],
        states: Float[Tensor, "n d_model"],
        out: Float[Tensor, "n vocab"] | None = None,
    ) -> Float[Tensor, "n vocab"]:
        """What vectors change in the logits of the states that they are added to.

        Before the soft-cap; computed from the vectors, not as the difference of two logits.
        """
        if self.mode != "per_vector":
            return self.bs_values(vectors, out)
        norm, before = self.unembedding.norm, states.double()
        after = before + vectors
        moved = norm.frozen(after, after) - norm.frozen(before, before)
        return self.unembedding.products(moved.to(vectors), out)

    def score_changes(
        self,
        changes: Float[Tensor, "n vocab"],
        logits: Float[Tensor, " vocab"],
        probabilities: Float[Tensor, " vocab"],
        target: TargetToken,
    ) -> Float[Tensor, " n"]:
        """What changed logits add to the score of one state.

        Args:
            changes: Of its logits (`changes`); overwritten.
            logits: The state's logits, soft-cap included.
            probabilities: Their softmax.
            target: What is explained.
        """
        changes = self.unembedding.capped_changes(changes, logits)
        chosen = changes[:, target.token].clone()
        if target.contrast is not None:
            # The normaliser cancels.
            return chosen - changes[:, target.contrast]
        return (chosen - normaliser_change(changes, logits, probabilities)).to(chosen)

    def scores(
        self, states: Float[Tensor, "n d_model"], target: TargetToken
    ) -> Float[Tensor, " n"]:
        """Log p(token | state), or its contrast, of every state."""
        # Parts of equal size: a short last one would be as slow as a long one.
        parts = states.tensor_split(-(-len(states) // CHUNK)) if len(states) else ()
        scores = [self._scores(part, target) for part in parts]
        return torch.cat(scores) if scores else states.new_zeros(0)

    def _scores(self, states: Tensor, target: TargetToken) -> Tensor:
        logits = self.logits(states, self.unembedding.scratch(len(states)))
        chosen = logits[:, target.token].clone()
        if target.contrast is not None:
            # The normaliser cancels.
            return chosen - logits[:, target.contrast]
        return (chosen - log_normaliser(logits)).to(chosen)

    def log_probabilities(self, states: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
        """Log p(· | state): the layer-wise logit lens of every token."""
        return log_probabilities(self.logits(states))

    def gradient(
        self, probabilities: Float[Tensor, "n vocab"], target: TargetToken
    ) -> Float[Tensor, "n d_model"]:
        """Gradient of the score at states whose tokens' probabilities are given.

        For log p it is s·γ·(e_w - Σ_t p_t e_t); a score is concave in the state, so
        score(x + v) - score(x) ≤ v · gradient(x).

        Raises:
            ValueError: Logits are not affine in the state.
        """
        if not self.affine:
            raise ValueError("the concavity bound needs logits that are affine in the state")
        head, norm = self.unembedding.weight, self.unembedding.norm
        if target.contrast is not None:
            pull = (head[target.token] - head[target.contrast]).expand(len(probabilities), -1)
        else:
            pull = head[target.token] - probabilities @ head
        pull = pull * self.unembedding.scale
        if self.mode == "none":
            return pull
        pull = pull * norm.gain.to(pull) / norm.scale(self.final)
        # The transpose of subtracting the mean is subtracting the mean.
        return pull - pull.mean(-1, keepdim=True) if norm.centred else pull


def extreme_tokens(
    readout: Readout, vectors: Float[Tensor, "n d_model"], count: int
) -> tuple[Int[Tensor, "n count"], Int[Tensor, "n count"]]:
    """Tokens with the highest and the lowest bs-values of vectors (section 1.8).

    A positive coefficient promotes the first and suppresses the second, a negative one the
    reverse.
    """
    tops, bottoms = [], []
    for part in vectors.split(CHUNK):
        values, replaced = readout.bs_values(part), readout.unembedding.without_tokenless
        tops.append(top_tokens(replaced(values, -math.inf), count))
        bottoms.append(top_tokens(replaced(values, math.inf), count, largest=False))
    if not tops:
        empty = torch.zeros(0, count, dtype=torch.long)
        return empty, empty
    return torch.cat(tops), torch.cat(bottoms)


def interpolated_scores(
    readout: Readout,
    start: Float[Tensor, " d_model"],
    end: Float[Tensor, " d_model"],
    target: TargetToken,
    points: int,
) -> tuple[Float[Tensor, " points"], Float[Tensor, " points"]]:
    """Log p(w) and p(w) at h^0 + S·(h^L - h^0) for S from 0 to 1 (section 4.1, Fig. 3)."""
    steps = torch.linspace(0, 1, points, dtype=start.dtype, device=start.device)[:, None]
    if not readout.affine:
        logs = readout.scores(start + steps * (end - start), TargetToken(target.token))
        return logs, logs.exp()
    # Affine logits need the two ends alone.
    first, last = readout.logits(torch.stack([start, end]))
    logits = torch.lerp(first, last, steps)
    logs = (logits[:, target.token] - log_normaliser(logits)).to(logits)
    return logs, logs.exp()
