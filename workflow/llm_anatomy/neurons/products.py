"""Logits of bfloat16 weights on a card: multiplied exactly, accumulated and given in float32.

A product of two bfloat16 numbers is exact in float32, so a card's fast bfloat16 product with
float32 output rounds no logit more than float32 would. What is not bfloat16 (a float32 checkpoint,
a gain multiplied in) is taken as the sum of two bfloat16 parts, 2^-16 of it at most left over, and
the product of the two lower parts is left out:

    |z' - z| <= 2^-14 sum_i |w_i u_i|     beside float32's own rounding
"""

import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.neurons.scan import BLOCK, inverse_norms


class SplitHead:
    """The rows of an LM head as bfloat16 parts, the vocabulary filled up to whole blocks.

    Args:
        head: Float32, on the device that computes.

    Attributes:
        vocab: Tokens.
        columns: Tokens and filling; logits behind `vocab` are no tokens'.
        inverse_norms: `1 / |u_t|` of every token.
    """

    def __init__(self, head: Float[Tensor, "vocab d_model"]) -> None:
        self.vocab = len(head)
        self.columns = -(-self.vocab // BLOCK) * BLOCK
        self.inverse_norms = inverse_norms(head)
        # Rows whose number is no multiple of eight would send the card to slower code.
        filling = (0, 0, 0, self.columns - self.vocab)
        self._parts = [
            torch.nn.functional.pad(part, filling) for part in bfloat16_parts(head.float())
        ]
        self._beside: dict[int, Tensor] = {}

    def multiply(
        self, vectors: Float[Tensor, "rows d_model"], out: Float[Tensor, "rows columns"]
    ) -> None:
        """Write the logits of some float32 vectors; one product, whatever the number of parts."""
        parts = bfloat16_parts(vectors)
        pairs = self._pairs(len(parts))
        left = torch.cat([parts[own] for own, _ in pairs], dim=1)
        _float32_product(left, self._rows(len(parts)), out)

    def _pairs(self, parts: int) -> list[tuple[int, int]]:
        """Which part of the vectors meets which of the head: all but the two lower ones."""
        return [
            (own, other)
            for own in range(parts)
            for other in range(len(self._parts))
            if own + other < 2
        ]

    def _rows(self, parts: int) -> Tensor:
        """The head's parts side by side, as they meet vectors of one or two parts."""
        if parts not in self._beside:
            rows = [self._parts[other] for _, other in self._pairs(parts)]
            self._beside[parts] = rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)
        return self._beside[parts]


def bfloat16_parts(values: Float[Tensor, "*shape"]) -> list[Tensor]:
    """One bfloat16 tensor that equals float32 values, or two whose sum is them within 2^-16."""
    high = values.bfloat16()
    low = values - high.float()
    return [high, low.bfloat16()] if bool(low.any()) else [high]


def _float32_product(left: Tensor, right: Tensor, out: Tensor) -> None:
    if left.is_cuda:
        torch.mm(left, right.T, out_dtype=torch.float32, out=out)
    else:
        # Torch multiplies so on cards alone; this is the same sum of the same exact products.
        torch.mm(left.float(), right.float().T, out=out)
