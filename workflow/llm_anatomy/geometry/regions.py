"""The MLP as the affine map of the region that its input lies in.

With region code w_k = 1[h_k > 0] of the pre-activations h = W x + b, a ReLU MLP is exactly
A_w x + b_w = W_down (w * (W x + b)) + b_down on the whole region. GELU and SiLU are soft versions
with the same boundaries, and a gated MLP multiplies w * gate(x) with up(x): the map of its region
is exact for ReLU too, but a product of two affine maps. (papers/geometry, section 2.3)
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from llm_anatomy.model.architecture import Block


@dataclass(frozen=True)
class DenseMlp:
    """The MLP of a block in float64."""

    weight: Float[Tensor, "units d_model"]
    bias: Float[Tensor, " units"]
    up_weight: Float[Tensor, "units d_model"] | None
    up_bias: Float[Tensor, " units"] | None
    down_weight: Float[Tensor, "d_model units"]
    down_bias: Float[Tensor, " d_model"]
    activation: Callable[[Tensor], Tensor]

    @property
    def gated(self) -> bool:
        """Whether a gate is multiplied with an up projection."""
        return self.up_weight is not None

    def preactivations(
        self, inputs: Float[Tensor, "texts d_model"]
    ) -> Float[Tensor, "texts units"]:
        """H = W x + b."""
        return inputs @ self.weight.T + self.bias

    def output(
        self, inputs: Float[Tensor, "texts d_model"], activation: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "texts d_model"]:
        """The MLP with a given activation."""
        return self._down(activation(self.preactivations(inputs)), inputs)

    def region_map(
        self, inputs: Float[Tensor, "texts d_model"], code: Bool[Tensor, "texts units"]
    ) -> Float[Tensor, "texts d_model"]:
        """The map of the region `code`, applied to inputs that may lie anywhere."""
        return self._down(code * self.preactivations(inputs), inputs)

    def _down(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        if self.up_weight is not None and self.up_bias is not None:
            hidden = hidden * (inputs @ self.up_weight.T + self.up_bias)
        return hidden @ self.down_weight.T + self.down_bias


def dense_mlp(block: Block) -> DenseMlp:
    """A block's MLP with every weight in float64 on the CPU."""

    def weight_and_bias(name: str) -> tuple[Tensor, Tensor]:
        projection = getattr(block, name)
        weight = projection.weight(torch.float64).cpu()
        bias = projection.bias(torch.float64)
        return weight, weight.new_zeros(len(weight)) if bias is None else bias.cpu()

    weight, bias = weight_and_bias("preactivation")
    up_weight, up_bias = weight_and_bias("up") if block.gate is not None else (None, None)
    down_weight, down_bias = weight_and_bias("down")
    return DenseMlp(weight, bias, up_weight, up_bias, down_weight, down_bias, block.activation)


def towards_boundary(
    mlp: DenseMlp, inputs: Float[Tensor, "texts d_model"], share: float
) -> Float[Tensor, "texts d_model"]:
    """Move every input straight to its nearest boundary, `share` of the way (below 1: inside)."""
    h = mlp.preactivations(inputs)
    norms = mlp.weight.norm(dim=1)
    distances = torch.where(norms > 0, h.abs() / norms, torch.inf)
    nearest = distances.argmin(dim=-1)
    rows = torch.arange(len(inputs))
    normal = mlp.weight[nearest] / norms[nearest][:, None]
    # A boundary lies against the sign of h, along the unit's weight vector.
    step: Tensor = -h[rows, nearest].sign() * distances[rows, nearest]
    moved: Tensor = inputs + share * step[:, None] * normal
    return moved
