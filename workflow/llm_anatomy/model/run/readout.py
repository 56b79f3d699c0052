"""The one head: final norm, LM head, logit scale and soft-cap, from states to logits.

It computes in float32 whatever the model's type, and in float64 for a float64 model. Logits in
bfloat16 are 0.06 to 0.12 nat apart, so that rounding would decide ranks and ties.
"""

import copy
from functools import cached_property
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_anatomy.model.parts.architecture import Decoder

# Of a row without a token. Its exponential is 0, and unlike an infinite one's its difference from
# another, its mean with itself and its product with a probability of 0 are numbers.
LOWEST = -1e30


def computing_type(decoder: Decoder) -> torch.dtype:
    """The type that a model's logits, and what is taken apart of it, are computed in."""
    return torch.float64 if decoder.dtype == torch.float64 else torch.float32


class Unembedding:
    """The final norm and LM head of a model, on the device that its token ids go to.

    Rows behind the last token are left out, and rows in front of it without a token have logits
    that win no place and add nothing to a sum: logits, and what is computed with them, are over
    tokens. A float32 model's own weight is used; another's is copied. Products are scaled and
    capped in place, so that no gradient flows through a soft-cap.

    Attributes:
        dtype: The type that it computes in.
        device: Where it computes.
        norm: The final norm.
        weight: The LM head's weight, row e_w for token w [vocab, d_model].
        bias: The LM head's bias, or None.
        scale: Factor on the logits (Cohere, Granite), else 1.
        softcap: Cap `c` of `c * tanh(logits / c)` (Gemma 2), or None.
        tokenless: Rows without a token, or None.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.dtype = computing_type(decoder)
        self.device = decoder.device
        self.norm = decoder.final_norm
        self._norm_module = _in_type(decoder.final_norm.module, self.dtype)
        tokens = decoder.vocab_size
        self.weight: Float[Tensor, "vocab d_model"] = decoder.head.weight(self.dtype)[:tokens].to(
            self.device
        )
        bias = decoder.head.bias(self.dtype)
        bias = None if bias is None else bias[:tokens]
        self.bias: Float[Tensor, " vocab"] | None = None if bias is None else bias.to(self.device)
        self.scale, self.softcap = decoder.logit_scale, decoder.logit_softcap
        self.tokenless: Int[Tensor, " rows"] | None = None
        if decoder.tokenless:
            self.tokenless = torch.tensor(decoder.tokenless, device=self.device)
        self._scratch = torch.empty(0, dtype=self.dtype, device=self.device)

    def logits(self, states: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of residual-stream states after the last block."""
        return self.unembed(self._norm_module(states.to(self.dtype)))

    def unembed(self, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of states that the final norm has already been applied to."""
        normed = normed.to(self.device, self.dtype)
        return self.capped(self._scaled(nn.functional.linear(normed, self.weight, self.bias)))

    def differentiable(
        self, normed: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch vocab"]:
        """Logits as by `unembed`, without work in place: gradients flow, through a soft-cap too."""
        normed = normed.to(self.device, self.dtype)
        logits = nn.functional.linear(normed, self.weight, self.bias) * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return self.without_tokenless(logits, LOWEST)

    def products(
        self, normed: Float[Tensor, "n d_model"], out: Float[Tensor, "n vocab"] | None = None
    ) -> Float[Tensor, "n vocab"]:
        """e_w · x of every row, scaled, without the head's bias and the soft-cap: linear in x.

        Of rows without a token too, which whoever ranks the products takes out.
        """
        return self._scaled(torch.mm(normed, self.weight.T, out=out))

    def capped(self, logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
        """Logits behind the soft-cap, in place, those of rows without a token the lowest."""
        cap = self.softcap
        logits = logits if cap is None else logits.div_(cap).tanh_().mul_(cap)
        return self.without_tokenless(logits, LOWEST)

    def without_tokenless(
        self, values: Float[Tensor, "*batch vocab"], value: float
    ) -> Float[Tensor, "*batch vocab"]:
        """Numbers of every row of the head, in which rows without a token have another one."""
        return values if self.tokenless is None else values.index_fill(-1, self.tokenless, value)

    def capped_changes(
        self, changes: Float[Tensor, "n vocab"], logits: Float[Tensor, " vocab"]
    ) -> Float[Tensor, "n vocab"]:
        """What changes before the soft-cap become behind it, in place.

        With a = tanh(z / c), b = tanh(Δ / c): c (tanh((z + Δ) / c) - a) = c b (1 - a²) / (1 + a b).

        Args:
            changes: Δ of every row.
            logits: The logits c·a that are changed, soft-cap included.
        """
        cap = self.softcap
        if cap is None:
            return changes
        a = logits / cap
        b = changes.div_(cap).tanh_()
        return self.without_tokenless(b.mul_((1 - a * a) * cap / (1 + a * b)), 0.0)

    @cached_property
    def constant(self) -> Float[Tensor, " vocab"] | None:
        """What the biases of the norm and the head add to every state's logits; None without any.

        It is not part of `products`: it belongs to a state once, and not to each of its parts.
        """
        if self.norm.bias is None and self.bias is None:
            return None
        constant = torch.zeros(len(self.weight), dtype=self.dtype, device=self.device)
        if self.norm.bias is not None:
            constant = constant + self.weight @ self.norm.bias.to(self.device, self.dtype)
        if self.bias is not None:
            constant = constant + self.bias
        return constant * self.scale

    def scratch(self, rows: int) -> Float[Tensor, "rows vocab"]:
        """Memory for logits that are reduced at once; the next call overwrites it."""
        if len(self._scratch) < rows:
            shape = (rows, len(self.weight))
            self._scratch = torch.empty(shape, dtype=self.dtype, device=self.device)
        return self._scratch[:rows]

    def _scaled(self, products: Tensor) -> Tensor:
        # Exact: multiplying by 1 changes nothing.
        return products if self.scale == 1.0 else products.mul_(self.scale)


_unembeddings: WeakKeyDictionary[nn.Module, Unembedding] = WeakKeyDictionary()


def unembedding_of(decoder: Decoder) -> Unembedding:
    """A model's unembedding, made once for all who ask.

    A half-precision model's copy of its head does not follow later changes of the weights.
    """
    module = decoder.head.module
    if module not in _unembeddings:
        _unembeddings[module] = Unembedding(decoder)
    return _unembeddings[module]


def _in_type(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A module that computes in a type: itself, or a copy."""
    if all(parameter.dtype == dtype for parameter in module.parameters()):
        return module
    return copy.deepcopy(module).to(dtype)
