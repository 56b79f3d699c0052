"""Whether a layer that a configuration names exists."""

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
