"""A module that computes something else than the weight it shows is refused by name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Block
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.proof import prove
from torch import Tensor, nn

from tests.tiny import tiny_model

ROLES: dict[str, Callable[[Block], Any]] = {
    "query": lambda block: block.q,
    "key": lambda block: block.k,
    "value": lambda block: block.v,
    "output": lambda block: block.o,
    "gate": lambda block: block.gate,
    "up": lambda block: block.up,
    "down": lambda block: block.down,
}


def scaled(output: Tensor) -> Tensor:
    """As a quantised weight whose scale is applied in the kernel alone."""
    return output * 1.02


def shifted(output: Tensor) -> Tensor:
    """As a bias that the module keeps under another name."""
    return output + 0.1


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "qwen2", "gpt_neox"])
@pytest.mark.parametrize("change", [scaled, shifted])
def test_every_role_of_every_layer_is_compared(family: str, change: Any) -> None:
    for role, part in ROLES.items():
        decoder = resolve(tiny_model(family))
        projection = part(decoder.blocks[1])
        if projection is None:
            continue
        projection.module.register_forward_hook(lambda module, args, output: change(output))
        with pytest.raises(UserError, match="than its weight and bias say") as caught:
            prove(decoder)
        assert f"in layer 1, the {role} projection" in str(caught.value) or (
            f"('{projection.name}')" in str(caught.value)
        )


@pytest.mark.parametrize("family", ["llama", "llama_tied", "gpt2"])
def test_the_head_is_compared(family: str) -> None:
    decoder = resolve(tiny_model(family))
    decoder.head.module.register_forward_hook(lambda module, args, output: output * 1.02)
    with pytest.raises(UserError, match=r"the LM head .* than its weight and bias say"):
        prove(decoder)


class Adapted(nn.Module):
    """A linear map beside a low-rank one, as adapter libraries put it in its place."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.in_features, self.out_features = base, base.in_features, base.out_features
        self.down = nn.Linear(base.in_features, 2, bias=False)
        self.up = nn.Linear(2, base.out_features, bias=False)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.base(x) + self.up(self.down(x))
        return added


@pytest.mark.parametrize("role", ["q_proj", "o_proj"])
def test_an_adapter_beside_the_weight_is_refused(role: str) -> None:
    model = tiny_model("llama")
    attention = model.model.layers[2].self_attn
    setattr(attention, role, Adapted(getattr(attention, role)))
    with pytest.raises(UserError, match=rf"layer 2.*{role}.*than its weight and bias say"):
        prove(resolve(model))


class Packed(nn.Module):
    """A quantised layer that keeps its weight packed under another name."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = base.in_features, base.out_features
        self.base = [base]
        self.qweight = nn.Parameter(torch.zeros(2, 2, dtype=torch.int32), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.base[0](x)
        return output


def test_a_layer_without_a_dense_weight_is_refused_by_name() -> None:
    model = tiny_model("llama")
    model.model.layers[0].mlp.up_proj = Packed(model.model.layers[0].mlp.up_proj)
    with pytest.raises(UserError, match=r"layers\.0\.mlp\.up_proj' \(Packed\) holds no dense"):
        prove(resolve(model))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_rounding_is_no_difference(family: str, dtype: torch.dtype) -> None:
    prove(resolve(tiny_model(family, dtype=dtype)))
