"""How much of a model can be trained in the memory that is there: all of it, or its last layers.

AdamW in float32 keeps four numbers for every trained parameter: itself, its gradient and two
moments. What is not trained is kept once, and what lies below the first trained layer needs no
activations.
"""

from dataclasses import dataclass

from llm_anatomy.config.neurons import FineTune
from llm_anatomy.errors import UserError

FLOAT32 = 4
# Gradient and two moments, beside the parameter itself.
TRAINED_NUMBERS = 3
# Of a layer, for every token, until the backward pass: as wide as the stream, and as the MLP.
STREAM_TENSORS, NEURON_TENSORS = 8, 4
# Share of the memory that training may take: other processes and buffers have the rest.
SHARE = 0.8


@dataclass(frozen=True)
class TrainedSizes:
    """The sizes of a model that decide how much of it can be trained.

    Attributes:
        n_layers: Its blocks.
        parameters: All of its parameters.
        layer_parameters: Those of a block.
        d_model: Width of the residual stream.
        n_neurons: MLP neurons of a block.
        vocab_size: Rows of the LM head.
    """

    n_layers: int
    parameters: int
    layer_parameters: int
    d_model: int
    n_neurons: int
    vocab_size: int


def layers_that_fit(sizes: TrainedSizes, settings: FineTune, memory: float) -> int | None:
    """How many of the last layers can be trained; None for the whole model, 0 for nothing.

    Args:
        sizes: The model.
        settings: How large a batch is.
        memory: Bytes that the device has.
    """
    tokens = settings.batch * settings.max_tokens
    always = sizes.parameters + 3 * tokens * sizes.vocab_size
    activations = STREAM_TENSORS * sizes.d_model + NEURON_TENSORS * sizes.n_neurons
    layer = TRAINED_NUMBERS * sizes.layer_parameters + tokens * activations
    beside = sizes.parameters - sizes.n_layers * sizes.layer_parameters
    room = SHARE * memory / FLOAT32 - always
    if room >= sizes.n_layers * layer + TRAINED_NUMBERS * beside:
        return None
    return max(0, min(sizes.n_layers, int(room // layer)))


def check_some_fit(count: int | None, name: str, memory: float, where: str) -> None:
    """Refuse a fine-tune of which nothing fits.

    Raises:
        UserError: Not even the last layer does.
    """
    if count == 0:
        raise UserError(
            f"the model '{name}' cannot be trained here: beside its weights in float32 not even "
            f"its last layer fits, and {where} has {memory / 1e9:.0f} GB; set "
            "neurons.comparison.fine_tuned to false, or neurons.fine_tune.model to a smaller one"
        )


def fitting_sentence(count: int | None, n_layers: int, name: str) -> str:
    """What is said of a fine-tune that is not of the whole model; empty for one that is."""
    if count is None:
        return ""
    return (
        f"Of {name}, the last {count} of {n_layers} layers are trained: the whole model does not "
        "fit the memory."
    )
