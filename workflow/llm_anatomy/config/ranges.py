"""Whether the layers that a configuration names exist."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from llm_anatomy.errors import UserError


def check_distinct(name: str, values: Sequence[int]) -> None:
    """Check that a list of layers or positions names each once.

    Raises:
        ValueError: One is named twice.
    """
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is twice in the list `{name}`; name it once")


def _once(layers: list[int]) -> list[int]:
    check_distinct("layers", layers)
    return layers


# Layers of a model, counted from 0, each once.
Layers = Annotated[list[Annotated[int, Field(ge=0)]], AfterValidator(_once)]


def check_layer(key: str, layer: int, n_layers: int, model: str = "the model") -> None:
    """Check that a model has a layer.

    Args:
        key: The configuration's key that names it, for the message.
        layer: The layer.
        n_layers: How many the model has.
        model: What the message calls the model.

    Raises:
        UserError: It has not.
    """
    if not 0 <= layer < n_layers:
        raise UserError(
            f"the key '{key}' names layer {layer}, but {model} has the layers 0 to {n_layers - 1}"
        )


def check_layer_count(key: str, count: int, n_layers: int, model: str = "the model") -> None:
    """Check that a model has so many layers.

    Args:
        key: The configuration's key that asks for them, for the message.
        count: How many first layers are asked for.
        n_layers: How many the model has.
        model: What the message calls the model.

    Raises:
        UserError: It has fewer.
    """
    if count > n_layers:
        raise UserError(f"the key '{key}' is {count}, but {model} has {n_layers} layers")
