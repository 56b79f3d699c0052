"""Which neuron stands for a concept, and which random ones are its controls."""

import numpy as np
import pandas as pd

from llm_anatomy.config.neurons import Concept, Neuron
from llm_anatomy.errors import UserError


def concept_neuron(concepts: pd.DataFrame, concept: str, asked: Neuron | None) -> tuple[int, int]:
    """Layer and neuron: the asked one, or the concept's most specific one.

    Args:
        concepts: The table `neurons/concepts`.
        concept: Name of the concept.
        asked: The configured neuron, if any.
    """
    if asked is not None:
        return asked.layer, asked.neuron
    best = concepts[(concepts["concept"] == concept) & (concepts["rank"] == 1)].iloc[0]
    return int(best["layer"]), int(best["neuron"])


def control_neurons(layer: int, neuron: int, n_neurons: int, count: int, seed: int) -> list[int]:
    """Seeded random neurons of the same layer, all different from the concept's.

    Raises:
        UserError: The layer has too few neurons.
    """
    if count >= n_neurons:
        raise UserError(
            f"neurons.favourite.controls is {count}, but layer {layer} has only {n_neurons} neurons"
        )
    others = np.random.default_rng([seed, layer, neuron]).permutation(n_neurons)
    return [int(other) for other in others if other != neuron][:count]


def named(concepts: list[Concept], name: str) -> Concept:
    """The concept of this name; the configuration has checked that there is one."""
    return next(concept for concept in concepts if concept.name == name)
