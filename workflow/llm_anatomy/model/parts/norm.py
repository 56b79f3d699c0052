"""Normalisation layers, read by what they compute rather than by their class.

RMSNorm:   norm(x) = gain * x / sqrt(mean(x^2) + eps)
LayerNorm: norm(x) = gain * (x - mean(x)) / sqrt(var(x) + eps) + bias
"""

import copy
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llm_anatomy.statistics.random import Purpose, keyed_generator

PROBE_TOLERANCE = 1e-4
# A probe is no sample: what is found does not depend on the numbers.
PROBE_SEED = 0
# What a norm that does not state its epsilon may add to the variance.
EPSILONS = (0.0, 1e-5, 1e-6)


@dataclass(frozen=True)
class Norm:
    """One normalisation layer of a model.

    Attributes:
        name: Qualified name of the module in the model.
        module: The module itself.
        centred: Whether the mean is subtracted (LayerNorm) or not (RMSNorm).
        gain: Factor per feature, float32, as applied: Gemma's `1 + weight` is already added.
        gain_offset: What is added to the stored weight to give the gain (1 for Gemma, else 0).
        bias: Constant per feature, or None.
        eps: Added to the variance or mean square.
    """

    name: str
    module: nn.Module
    centred: bool
    gain: Float[Tensor, " d_model"]
    gain_offset: float
    bias: Float[Tensor, " d_model"] | None
    eps: float

    def scale(self, reference: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch 1"]:
        """What the norm divides `reference` by."""
        if self.centred:
            reference = reference - reference.mean(-1, keepdim=True)
        return (reference.square().mean(-1, keepdim=True) + self.eps).sqrt()

    def frozen(
        self,
        vectors: Float[Tensor, "*vectors d_model"],
        reference: Float[Tensor, "*reference d_model"],
    ) -> Float[Tensor, "*out d_model"]:
        """The norm as a linear map: its scale frozen to `reference`'s, its bias left out.

        For `vectors` that sum to `reference` the results sum to `norm(reference) - bias`
        (papers/facts, section 1.3).
        """
        if self.centred:
            vectors = vectors - vectors.mean(-1, keepdim=True)
        return vectors / self.scale(reference) * self.gain.to(vectors)


def read_norm(name: str, module: nn.Module, d_model: int) -> Norm:
    """Find out what a normalisation module computes by probing a float32 copy of it.

    Raises:
        ValueError: The module computes neither RMSNorm nor LayerNorm.
    """
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    clone = copy.deepcopy(module).to_empty(device="cpu").float()
    generator = keyed_generator(PROBE_SEED, Purpose.NORM_PROBE)
    with torch.no_grad():
        # Known parameters make the probe work for a model on the meta device too.
        for parameter in clone.parameters():
            parameter.copy_(torch.from_numpy(generator.uniform(0.5, 1.5, tuple(parameter.shape))))
    probe = torch.from_numpy(generator.normal(0.7, 1.0, (4, d_model))).float()
    stated = [
        float(getattr(module, key)) for key in ("variance_epsilon", "eps") if hasattr(module, key)
    ]
    # OLMo's LayerNorm has its epsilon in its code alone.
    for eps, centred, offset in product(stated[:1] or EPSILONS, (False, True), (0.0, 1.0)):
        candidate = _norm(name, clone, centred, offset, d_model, eps)
        if all(_matches(candidate, probe * scale) for scale in (1.0, 1e-2)):
            gain = torch.ones(d_model) if weight is None else weight.detach().float() + offset
            return Norm(
                name,
                module,
                centred,
                gain,
                offset if weight is not None else 0.0,
                None if bias is None else bias.detach().float(),
                eps,
            )
    raise ValueError(f"'{name}' ({type(module).__name__}) is neither an RMSNorm nor a LayerNorm")


def _norm(
    name: str, clone: nn.Module, centred: bool, offset: float, d_model: int, eps: float
) -> Norm:
    weight, bias = getattr(clone, "weight", None), getattr(clone, "bias", None)
    gain = torch.ones(d_model) if weight is None else weight.detach() + offset
    return Norm(name, clone, centred, gain, offset, None if bias is None else bias.detach(), eps)


def _matches(candidate: Norm, probe: Tensor) -> bool:
    with torch.no_grad():
        actual = candidate.module(probe)
        expected = candidate.frozen(probe, probe)
        if candidate.bias is not None:
            expected = expected + candidate.bias
    return bool(torch.allclose(actual, expected, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE))
