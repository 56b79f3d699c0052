"""A linear map of a model, whatever module holds it: Linear, Conv1D, fused or quantised."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from llm_anatomy.errors import UserError


@dataclass(frozen=True)
class Projection:
    """The map `y = W x + b` that one role (query, gate, down, …) plays inside a module.

    Attributes:
        name: Qualified name of the module in the model.
        module: The module to hook; with `rows` it computes other roles too.
        rows: Output features that belong to this role, or None for all of them.
    """

    name: str
    module: nn.Module
    rows: Int[Tensor, " out"] | None = None

    @property
    def transposed(self) -> bool:
        """Whether the stored weight is [in, out] (GPT-2's Conv1D)."""
        return isinstance(self.module, Conv1D)

    def weight(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "out in"]:
        """The dense weight, dequantised if need be.

        Raises:
            UserError: The module holds none.
        """
        weight = self._stored()
        if self.rows is not None:
            weight = weight[self.rows.to(weight.device)]
        return weight.to(dtype)

    def weight_rows(self, outputs: Int[Tensor, " n"], dtype: torch.dtype) -> Float[Tensor, "n in"]:
        """`weight(dtype)[outputs]`: taken out first, so that nothing else is widened."""
        if self.rows is not None:
            outputs = self.rows.to(outputs.device)[outputs]
        weight = self._stored()
        return weight[outputs.to(weight.device)].to(dtype)

    def weight_columns(
        self, inputs: Int[Tensor, " n"], dtype: torch.dtype
    ) -> Float[Tensor, "out n"]:
        """`weight(dtype)[:, inputs]`: taken out first, so that nothing else is widened."""
        weight = self._stored()
        weight = weight[:, inputs.to(weight.device)]
        if self.rows is not None:
            weight = weight[self.rows.to(weight.device)]
        return weight.to(dtype)

    def _stored(self) -> Tensor:
        """What the module holds, its other roles included [all out, in]."""
        weight = _dense(self.name, self.module)
        return weight.T if self.transposed else weight

    def bias(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, " out"] | None:
        """The bias, or None."""
        stored: Tensor | None = getattr(self.module, "bias", None)
        if stored is None:
            return None
        bias = stored.detach()
        if self.rows is not None:
            bias = bias[self.rows.to(bias.device)]
        return bias.to(dtype)

    def select(self, output: Float[Tensor, "*batch all"]) -> Float[Tensor, "*batch out"]:
        """This role's features out of the module's output; a view when they are contiguous."""
        if self.rows is None:
            return output
        first, last, count = int(self.rows[0]), int(self.rows[-1]), len(self.rows)
        if last - first + 1 == count:
            return output[..., first : last + 1]
        return output[..., self.rows.to(output.device)]

    @property
    def out_features(self) -> int:
        """Number of output features of this role."""
        return len(self.rows) if self.rows is not None else output_features(self.module)


def output_features(module: nn.Module) -> int:
    """Output width of a linear module."""
    width: int = module.nf if isinstance(module, Conv1D) else vars(module)["out_features"]
    return width


def input_features(module: nn.Module) -> int:
    """Input width of a linear module."""
    width: int = module.nx if isinstance(module, Conv1D) else vars(module)["in_features"]
    return width


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear map that `Projection` can read."""
    return isinstance(module, Conv1D) or (
        hasattr(module, "in_features") and hasattr(module, "out_features")
    )


def _dense(name: str, module: nn.Module) -> Tensor:
    weight = getattr(module, "weight", None)
    if not isinstance(weight, nn.Parameter):
        raise UserError(
            f"'{name}' ({type(module).__name__}) holds no dense weight that could be read; give "
            "the unquantised model"
        )
    if type(weight).__name__ in {"Params4bit", "Int8Params"}:
        from transformers.integrations.bitsandbytes import dequantize_bnb_weight

        dense: Tensor = dequantize_bnb_weight(weight, state=getattr(module, "state", None))
        return dense
    return weight.detach()
