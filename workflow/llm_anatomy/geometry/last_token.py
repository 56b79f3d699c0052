"""What the statements of the theory are checked on: the last token of one text, in every layer."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llm_anatomy.geometry.hull import HullCheck, check_hull
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.attention import record_attention
from llm_anatomy.model.run.hooks import first_tensor, hooked


@dataclass
class LastToken:
    """One text's last token, per layer.

    Attributes:
        hulls: The hull check of the attention output.
        mlp_inputs: What the MLP reads, float64 on the CPU.
        mlp_outputs: What the MLP gives, float64 on the CPU.
    """

    hulls: dict[int, HullCheck] = field(default_factory=dict)
    mlp_inputs: dict[int, Float[Tensor, " d_model"]] = field(default_factory=dict)
    mlp_outputs: dict[int, Float[Tensor, " d_model"]] = field(default_factory=dict)


def read_last_token(decoder: Decoder, ids: list[int], relative_threshold: float) -> LastToken:
    """Run one text through the model and check the hull statement at its last token.

    Args:
        decoder: The model.
        ids: The text's tokens.
        relative_threshold: Share of a head's largest attention that the soft dimension keeps.
    """
    seen = LastToken()
    attention: dict[int, tuple[Tensor, Tensor]] = {}
    attention_outputs: dict[int, Tensor] = {}
    pre: dict[nn.Module, Any] = {}
    forward: dict[nn.Module, Any] = {}
    for block in decoder.blocks:
        pre[block.preactivation.module] = _keep_input(seen.mlp_inputs, block.index)
        forward[block.down.module] = _keep_output(seen.mlp_outputs, block.index)
        forward[block.o.module] = _keep_output(attention_outputs, block.index)

    def keep_attention(layer: int, weights: Tensor, values: Tensor) -> None:
        attention[layer] = (weights[0, :, 0].cpu(), values[0].cpu())

    tokens = torch.tensor([ids], device=decoder.device)
    queries = torch.tensor([[len(ids) - 1]], device=decoder.device)
    with (
        torch.inference_mode(),
        record_attention(decoder, queries, keep_attention),
        hooked(forward=forward, pre=pre),
    ):
        decoder.body(input_ids=tokens, use_cache=False)
    for block in decoder.blocks:
        weights, values = attention[block.index]
        output = attention_outputs[block.index]
        seen.hulls[block.index] = check_hull(block, weights, values, output, relative_threshold)
    return seen


def _keep_input(states: dict[int, Tensor], layer: int) -> Any:
    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states[layer] = _last(args[0])

    return keep


def _keep_output(states: dict[int, Tensor], layer: int) -> Any:
    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        states[layer] = _last(first_tensor(output))

    return keep


def _last(states: Tensor) -> Tensor:
    """The last token of a batch of one, whether or not batch and tokens are flattened."""
    return states.reshape(-1, states.shape[-1])[-1].double().cpu()
