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

from llm_anatomy.model.parts.architecture import Block


@dataclass(frozen=True)
class DenseMlp:
    """The MLP of a block in float64."""

    weight: Float[Tensor, "units d_model"]
    bias: Float[Tensor, " units"]
    up_weight: Float[Tensor, "units d_model"] | None
    up_bias: Float[Tensor, " units"] | None
    down_weight: Float[Tensor, "d_model units"]
    down_bias: Float[Tensor, " d_model"]

    @property
    def gated(self) -> bool:
        """Whether a gate is multiplied with an up projection."""
        return self.up_weight is not None

    def preactivations(
        self, inputs: Float[Tensor, "texts d_model"]
    ) -> Float[Tensor, "texts units"]:
        """H = W x + b."""
        return inputs @ self.weight.T + self.bias

    def region_map(
        self, inputs: Float[Tensor, "texts d_model"], code: Bool[Tensor, "texts units"]
    ) -> Float[Tensor, "texts d_model"]:
        """The map of the region `code`, applied to inputs that may lie anywhere."""
        hidden = code * self.preactivations(inputs)
        if self.up_weight is not None and self.up_bias is not None:
            hidden = hidden * (inputs @ self.up_weight.T + self.up_bias)
        mapped: Tensor = hidden @ self.down_weight.T + self.down_bias
        return mapped


def mlp_output(
    block: Block,
    inputs: Float[Tensor, "texts d_model"],
    activation: Callable[[Tensor], Tensor],
    dtype: torch.dtype,
) -> Float[Tensor, "texts d_model"]:
    """What the model's own MLP modules make of inputs, with a given activation.

    Args:
        block: The layer.
        inputs: MLP inputs.
        activation: In place of the MLP's nonlinearity.
        dtype: Data type of the model's activations.

    Returns:
        The MLP's outputs in float64 on the CPU.
    """
    states = inputs.to(next(block.down.module.parameters()).device, dtype)
    with torch.inference_mode():
        hidden = activation(block.preactivation.select(block.preactivation.module(states)))
        if block.gate is not None:
            hidden = hidden * block.up.select(block.up.module(states))
        output: Tensor = block.down.module(hidden)
    return output.double().cpu()


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
    return DenseMlp(weight, bias, up_weight, up_bias, down_weight, down_bias)


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
