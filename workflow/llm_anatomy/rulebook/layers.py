"""Layers that a configuration names, checked before any job where a model's depth is known."""

import json
from collections.abc import Iterator
from pathlib import Path

from llm_anatomy.config.models import ModelSource
from llm_anatomy.config.ranges import check_layer
from llm_anatomy.config.root import Configuration
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.folder import configured_depth

PREPARED = Path("results/models")


def check_named_layers(configuration: Configuration, source: str) -> None:
    """Check that every model whose depth is known has the layers that its studies name.

    Args:
        configuration: The validated configuration.
        source: The file that it comes from, for the error message.

    Raises:
        UserError: A model is not that deep.
    """
    for model in configuration.models:
        depth = known_depth(model)
        if depth is None:
            continue
        for key, layer in named_layers(configuration):
            try:
                check_layer(key, layer, depth, f"the model '{model.name}'")
            except UserError as error:
                raise UserError(f"{source}: {error}") from error
        for key, count in layer_counts(configuration):
            if count > depth:
                raise UserError(
                    f"{source}: the key '{key}' is {count}, but the model '{model.name}' has "
                    f"{depth} layers"
                )


def known_depth(model: ModelSource) -> int | None:
    """Layers of a model that is a folder or prepared already; None for one still to be fetched."""
    prepared = PREPARED / model.name / "architecture.json"
    if prepared.is_file():
        depth: int = json.loads(prepared.read_text())["n_layers"]
        return depth
    return configured_depth(model)


def named_layers(configuration: Configuration) -> Iterator[tuple[str, int]]:
    """Keys of the picked studies that name layers, and the layers."""
    studies = configuration.studies
    state_layers = configuration.geometry.extraction.state_layers
    if "geometry" in studies or "toxicity" in studies:
        for layer in [] if state_layers == "all" else state_layers:
            yield "geometry.extraction.state_layers", layer
    if "patching" in studies:
        for layer in configuration.patching.layers or []:
            yield "patching.layers", layer
    if "neurons" in studies:
        for index, target in enumerate(configuration.neurons.clamping.targets):
            if target.neuron is not None:
                yield f"neurons.clamping.targets[{index}].neuron.layer", target.neuron.layer
        if configuration.neurons.favourite.neuron is not None:
            yield "neurons.favourite.neuron.layer", configuration.neurons.favourite.neuron.layer


def layer_counts(configuration: Configuration) -> Iterator[tuple[str, int]]:
    """Keys of the picked studies that ask for a number of first layers, and the number."""
    if "toxicity" not in configuration.studies:
        return
    for count in configuration.toxicity.early_exit.n_layers:
        yield "toxicity.early_exit.n_layers", count
    if configuration.toxicity.detector.n_layers is not None:
        yield "toxicity.detector.n_layers", configuration.toxicity.detector.n_layers
