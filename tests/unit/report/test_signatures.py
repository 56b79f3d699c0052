"""Every study's claims and figures are called alike: a collection of tables and a scope."""

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llm_anatomy.config.base import Settings
from llm_anatomy.facts.claims import facts_claims
from llm_anatomy.figures.exhibit import Exhibit
from llm_anatomy.figures.facts import facts_figures
from llm_anatomy.figures.geometry import geometry_figures
from llm_anatomy.figures.neurons import neuron_figures
from llm_anatomy.figures.patching import patching_figures
from llm_anatomy.figures.toxicity import toxicity_figures
from llm_anatomy.geometry.claims import geometry_claims
from llm_anatomy.neurons.claims import neuron_claims
from llm_anatomy.patching.claims import patching_claims
from llm_anatomy.tables.collection import Collection
from llm_anatomy.toxicity.claims import toxicity_claims


@pytest.mark.parametrize(
    ("claims", "figures"),
    [
        (facts_claims, facts_figures),
        (geometry_claims, geometry_figures),
        (neuron_claims, neuron_figures),
        (patching_claims, patching_figures),
        (toxicity_claims, toxicity_figures),
    ],
)
def test_claims_and_figures_of_a_study_are_made_of_tables_and_one_scope(
    claims: Callable[..., Any], figures: Callable[..., Any]
) -> None:
    scopes = []
    for function, returned in ((claims, list[dict[str, Any]]), (figures, Iterator[Exhibit])):
        assert list(inspect.signature(function).parameters) == ["tables", "scope"]
        hints = typing.get_type_hints(function)
        assert hints["tables"] is Collection
        assert hints["return"] == returned
        scopes.append(hints["scope"])
    assert scopes[0] is scopes[1]
    assert issubclass(scopes[0], Settings)
