"""The sizes of a model that decide what a job needs, read without loading a weight."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_anatomy.model.source.shards import tensor_shapes
from llm_anatomy.neurons.fitting import TrainedSizes


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder.

    Attributes:
        n_layers: Blocks.
        d_model: Width of the residual stream.
        vocab_size: Rows of the LM head.
        n_neurons: MLP neurons of the widest layer; 0 for a mixture of experts.
        n_matrices: MLP matrices of a layer: 3 with a gate, 2 without.
        parameters: All parameters, tied ones once.
        tied: Whether the LM head is the embedding.
    """

    n_layers: int
    d_model: int
    vocab_size: int
    n_neurons: int
    n_matrices: int
    parameters: int
    tied: bool

    @property
    def head_parameters(self) -> int:
        """Parameters of the LM head."""
        return self.vocab_size * self.d_model

    @property
    def body_parameters(self) -> int:
        """Parameters that every token is multiplied with: neither embedding nor head."""
        return self.parameters - self.head_parameters * (1 if self.tied else 2)


def trained_sizes(shape: Shape) -> TrainedSizes:
    """What decides how much of a model can be trained."""
    return TrainedSizes(
        n_layers=shape.n_layers,
        parameters=shape.parameters,
        layer_parameters=shape.body_parameters // shape.n_layers,
        d_model=shape.d_model,
        n_neurons=shape.n_neurons,
        vocab_size=shape.vocab_size,
    )


def prepared_shape(model_folder: Path) -> Shape:
    """The shape of a prepared model, from its JSON files and safetensors headers.

    Args:
        model_folder: `results/models/{model}`.

    Raises:
        FileNotFoundError: The model has not been prepared yet; `filename` is its provenance.
    """
    record = json.loads((model_folder / "provenance.json").read_text(encoding="utf-8"))
    architecture = json.loads((model_folder / "architecture.json").read_text(encoding="utf-8"))
    sizes = tensor_shapes(model_folder / "weights")
    layers = architecture["layers"]
    widths = [_rows(layer["up"], sizes) for layer in layers if layer["up"]]
    return Shape(
        n_layers=architecture["n_layers"],
        d_model=architecture["d_model"],
        vocab_size=architecture["vocab_size"],
        n_neurons=max(widths, default=0),
        n_matrices=3 if any(layer["gate"] for layer in layers) else 2,
        parameters=record["parameters"],
        tied=architecture["head"]["tied"],
    )


def _rows(projection: dict[str, Any], sizes: dict[str, list[int]]) -> int:
    """Output features of a projection, of which a fused tensor holds several."""
    if projection["rows"]:
        start, stop = projection["rows"]
        return int(stop - start)
    shape = sizes[projection["tensor"]]
    return shape[1] if projection["transposed"] else shape[0]
