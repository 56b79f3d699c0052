"""The figures of a study by its name: the functions that the report's stages call."""

from collections.abc import Callable, Iterator
from typing import Any

from llm_anatomy.config.base import Settings
from llm_anatomy.facts.claims import FactsScope
from llm_anatomy.figures.exhibit import Exhibit
from llm_anatomy.figures.facts import facts_figures
from llm_anatomy.figures.geometry import geometry_figures
from llm_anatomy.figures.neuron_study import neuron_study_figures
from llm_anatomy.figures.patching import patching_figures
from llm_anatomy.figures.toxicity import toxicity_figures
from llm_anatomy.geometry.claims import GeometryScope
from llm_anatomy.neurons.claims import NeuronScope
from llm_anatomy.patching.claims import PatchingScope
from llm_anatomy.tables.collection import Collection
from llm_anatomy.toxicity.claims import ToxicityScope

_STUDIES: dict[str, tuple[type[Settings], Callable[[Collection, Any], Iterator[Exhibit]]]] = {
    "geometry": (GeometryScope, geometry_figures),
    "toxicity": (ToxicityScope, toxicity_figures),
    "neurons": (NeuronScope, neuron_study_figures),
    "patching": (PatchingScope, patching_figures),
    "facts": (FactsScope, facts_figures),
}


def exhibits_of(study: str, tables: Collection, settings: str) -> Iterator[Exhibit]:
    """A study's exhibits, drawn one after the other.

    Args:
        study: Its name.
        tables: What its stage read.
        settings: What its stage read of the configuration, as JSON.
    """
    scope, figures = _STUDIES[study]
    return figures(tables, scope.model_validate_json(settings))
