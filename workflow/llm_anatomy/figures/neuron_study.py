"""What the report shows of the neuron study, from every module that draws a part of it."""

from collections.abc import Iterator

from llm_anatomy.figures.contexts import context_figures
from llm_anatomy.figures.exhibit import Exhibit
from llm_anatomy.figures.neurons import neuron_figures
from llm_anatomy.figures.steering import steering_figures
from llm_anatomy.neurons.claims import NeuronScope
from llm_anatomy.tables.collection import Collection


def neuron_study_figures(tables: Collection, scope: NeuronScope) -> Iterator[Exhibit]:
    """The exhibits in the report's order: words of neurons, their contexts, steering."""
    yield from neuron_figures(tables, scope)
    yield from context_figures(tables, scope.models)
    yield from steering_figures(tables, scope.models)
