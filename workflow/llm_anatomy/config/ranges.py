"""Whether the layers that a configuration names exist."""

from llm_anatomy.errors import UserError


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
