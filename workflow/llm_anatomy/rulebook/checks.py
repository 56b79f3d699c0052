"""What a configuration names on the disk, checked once before any job: folders, files, layers.

Run on the machine that starts the run: a job on another machine need not see every file.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from llm_anatomy.config.models import ModelSource
from llm_anatomy.config.ranges import check_layer, check_layer_count
from llm_anatomy.config.root import Configuration
from llm_anatomy.data.check import check_dataset
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.folder import check_source, configured_depth
from llm_anatomy.model.source.machine import machine_memory
from llm_anatomy.neurons.fitting import check_some_fit, layers_that_fit
from llm_anatomy.plan.resources import known_shape
from llm_anatomy.plan.shape import trained_sizes

PREPARED = Path("results/models")


def check_disk(configuration: Configuration, source: str) -> None:
    """Check every local model folder and data file, and every layer of a model that is known.

    Args:
        configuration: The validated configuration.
        source: The file that it comes from, for the error message.

    Raises:
        UserError: A file is missing or does not hold what its entry says, or a model is not as
            deep as a study asks for.
    """
    checks: list[tuple[str, Callable[[], None]]] = [
        *((f"models[{i}]", partial(check_source, m)) for i, m in enumerate(configuration.models)),
        *(
            (f"datasets[{i}]", partial(check_dataset, d))
            for i, d in enumerate(configuration.datasets)
        ),
    ]
    for place, check in checks:
        try:
            check()
        except UserError as error:
            raise UserError(f"{source}: in '{place}': {error}") from error
    try:
        _check_layers(configuration)
        _check_tuning(configuration)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def _check_layers(configuration: Configuration) -> None:
    """Every model whose depth is known has the layers that the picked studies name."""
    for model in configuration.models:
        depth = known_depth(model)
        if depth is not None:
            for key, layer in named_layers(configuration):
                check_layer(key, layer, depth, f"the model '{model.name}'")
            for key, count in layer_counts(configuration):
                check_layer_count(key, count, depth, f"the model '{model.name}'")


def _check_tuning(configuration: Configuration) -> None:
    """A model that is to be tuned, and is prepared, fits the memory with one layer in training."""
    tuned = configuration.neurons.tuned(configuration.model_names, configuration.dataset_names)
    shape = known_shape(tuned.base) if tuned and "neurons" in configuration.studies else None
    # Cards are asked by the stage: torch would take seconds here.
    if tuned and shape is not None and configuration.compute.device == "cpu":
        memory = machine_memory()
        count = layers_that_fit(trained_sizes(shape), configuration.neurons.fine_tune, memory)
        check_some_fit(count, tuned.base, memory, "this machine")


def known_depth(model: ModelSource) -> int | None:
    """Layers of a model that is a folder or prepared already; None for one still to be fetched."""
    prepared = PREPARED / model.name / "architecture.json"
    if prepared.is_file():
        depth: int = json.loads(prepared.read_text(encoding="utf-8"))["n_layers"]
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
