"""What is attributed: the log-probability of an answer, or its logit over a rival's."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.readout import unembedding_of


@dataclass(frozen=True)
class Metric:
    """A scalar of the logits behind each prompt of a batch (papers/attribution, section 1.5).

    Without rivals log p(answer), else logit(answer) - logit(rival), which is linear in the final
    normalised state and blind to whatever lifts all logits.

    Attributes:
        answers: Token of each prompt's answer.
        rivals: Token that each answer is held against, or None.
    """

    answers: Int[Tensor, " batch"]
    rivals: Int[Tensor, " batch"] | None = None

    def of_logits(self, logits: Float[Tensor, "batch vocab"]) -> Float[Tensor, " batch"]:
        """The metric of every prompt."""
        own = logits.gather(1, self.answers[:, None])[:, 0]
        if self.rivals is None:
            return own - logits.logsumexp(-1)
        return own - logits.gather(1, self.rivals[:, None])[:, 0]

    def rows(self, which: Int[Tensor, " rows"]) -> "Metric":
        """The metric of some prompts, or of one prompt several times."""
        rivals = None if self.rivals is None else self.rivals[which]
        return Metric(self.answers[which], rivals)


def last_logits(
    decoder: Decoder, tokens: Int[Tensor, "batch tokens"]
) -> Float[Tensor, "batch vocab"]:
    """Logits behind prompts of one length; gradients flow through them, soft-cap included."""
    normed = decoder.body(input_ids=tokens, use_cache=False).last_hidden_state[:, -1]
    return unembedding_of(decoder).differentiable(normed)
