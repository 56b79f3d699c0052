"""The proof that the weights which the studies read are those that the model computes with.

A module may do more than its stored weight says: scales of quantised weights, adapters, rotations.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.projection import Projection
from llm_anatomy.model.run.hooks import hooked

# Whether an actual tensor is close enough to the expected one.
Close = Callable[[Tensor, Tensor], bool]


def weight_failure(decoder: Decoder, ids: Int[Tensor, "rows tokens"], close: Close) -> str | None:
    """Which projection does not compute `W x + b`, and where it is; None where all do.

    Every query, key, value, output, gate, up and down projection and the LM head is compared, on
    the inputs that it gets in one forward pass, with its `Projection.weight()` and `bias()`.

    Args:
        decoder: The model.
        ids: Token ids to run.
        close: How much rounding is accepted.
    """
    roles: dict[nn.Module, list[tuple[str, Projection]]] = defaultdict(list)
    for role, projection in _projections(decoder):
        roles[projection.module].append((role, projection))
    failures: list[str] = []
    ran: set[nn.Module] = set()

    def compare(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        ran.add(module)
        for role, projection in roles[module]:
            weight, bias = projection.weight(), projection.bias()
            expected = nn.functional.linear(args[0].to(weight), weight, bias)
            if not close(expected, projection.select(output)):
                failures.append(
                    f"{role} ('{projection.name}') computes something else than its weight and "
                    "bias say"
                )

    with torch.no_grad(), hooked(forward=dict.fromkeys(roles, compare)):
        decoder.model(input_ids=ids, use_cache=False)
    for module in (module for module in roles if module not in ran):
        role, projection = roles[module][0]
        failures.append(f"{role} ('{projection.name}') takes no part in a forward pass")
    return failures[0] if failures else None


def _projections(decoder: Decoder) -> Iterator[tuple[str, Projection]]:
    for block in decoder.blocks:
        parts: dict[str, Projection] = {}
        if block.projections is not None:
            own = block.projections
            parts = {"query": own.q, "key": own.k, "value": own.v, "output": own.o}
        if block.mlp is not None:
            parts |= {"up": block.mlp.up, "down": block.mlp.down}
            if block.mlp.gate is not None:
                parts["gate"] = block.mlp.gate
        for role, projection in parts.items():
            yield f"in layer {block.index}, the {role} projection", projection
    yield "the LM head", decoder.head
