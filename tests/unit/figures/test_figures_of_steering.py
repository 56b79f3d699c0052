"""The figure of steering shows the columns it names, and its caption the table's numbers."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest
from llm_anatomy.figures.exhibit import PALETTE, Exhibit
from llm_anatomy.figures.steering import steering_figure, steering_figures
from llm_anatomy.tables.directions import DIRECTIONS, EQUAL_FLUENCY, STEERING

from tests.unit.figures.drawn import (
    Unlabelled,
    by_title,
    draws,
    figure_legend,
    levels,
    panels,
    says,
    unlabelled,
    words,
)
from tests.unit.figures.tables import Made, Rows, collection

BLUE, ORANGE = PALETTE[:2]
# Method, role, operation: dose, perplexity and probability.
SWEPT = {
    ("none", "concept", "none"): [(None, 10.0, 0.02)],
    ("direction", "concept", "add"): [(2.0, 11.5, 0.5), (1.0, 12.0, 0.2)],
    ("direction", "concept", "project_out"): [(None, 11.0, 0.01)],
    ("direction", "random", "add"): [(1.0, 13.0, 0.03), (2.0, 50.0, 0.04)],
    ("direction", "random", "project_out"): [(None, 10.5, 0.025)],
    ("clamp", "concept", "set"): [(5.0, 20.0, 0.1), (9.0, 60.0, 0.3)],
    ("clamp", "random", "set"): [(5.0, 21.0, 0.021), (9.0, 61.0, 0.022)],
}
GAINS = {
    ("direction", "concept"): 2.5,
    ("direction", "random"): 0.25,
    ("direction", "permuted"): 0.5,
    ("clamp", "concept"): 1.25,
    ("clamp", "random"): 0.0,
}
TARGETS = (("dog", "My"), ("sea", "The"))


def swept_rows() -> Rows:
    names = ("method", "role", "operation")
    return [
        {"concept": concept, "prompt": prompt, "layer": 14 + at}
        | dict(zip(names, key, strict=True))
        | {"dose": dose, "perplexity": perplexity, "probability": probability / (1 + at)}
        for at, (concept, prompt) in enumerate(TARGETS)
        for key, values in SWEPT.items()
        for dose, perplexity, probability in values
    ]


def fluent_rows() -> Rows:
    return [
        {
            "concept": concept,
            "prompt": prompt,
            "method": method,
            "role": role,
            "perplexity_ratio": 1.5,
            "logprob_gain": gain + at,
        }
        for at, (concept, prompt) in enumerate(TARGETS)
        for (method, role), gain in GAINS.items()
    ]


def made_rows() -> Rows:
    shared = {"layer": 15, "positive": 8, "negative": 7, "neuron_layer": 29, "neuron": 808}
    none = {"positive_cut": 0, "negative_cut": 0, "unlabelled": 0, "unread": 0}
    few = {"positive_cut": 2, "negative_cut": 1, "unlabelled": 4, "unread": 5}
    return [
        shared | none | {"concept": "dog", "source": "examples"},
        shared | few | {"concept": "sea", "layer": 3, "source": "waves: sea"},
    ]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exhibit]]:
    made = [
        Made(STEERING, swept_rows(), {"model": "m"}),
        Made(EQUAL_FLUENCY, fluent_rows(), {"model": "m"}),
        Made(DIRECTIONS, made_rows(), {"model": "m"}),
    ]
    tables = collection(tmp_path_factory.mktemp("tables"), made)
    yield by_title(steering_figures(tables, ["other", "m"]))
    plt.close("all")


@draws(steering_figure)
def test_every_dose_is_a_point_of_perplexity_and_probability(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Steering m by directions and by neurons"]
    assert (exhibit.figure, exhibit.table.name) == ("m-steering.png", "steering.parquet")
    for at, (panel, (concept, prompt)) in enumerate(zip(panels(exhibit), TARGETS, strict=True)):
        expected = {}
        for (method, role, operation), values in SWEPT.items():
            if operation in ("add", "set"):
                # Joined dose by dose, though perplexity falls between two of them.
                points = [(perplexity, p / (1 + at)) for _, perplexity, p in sorted(values)]
                colour = BLUE if method == "direction" else ORANGE
                expected[colour, "-" if role == "concept" else ":"] = points
        drawn = {
            (line.colour, line.style): line.points
            for line in unlabelled(panel)
            if len(line.points) >= 2 and (line.colour in (BLUE, ORANGE))
        }
        assert drawn == expected
        crosses = [line for line in unlabelled(panel) if len(line.points) == 1]
        assert crosses == [Unlabelled(BLUE, "None", [(11.0, 0.01 / (1 + at))])]
        assert levels(panel) == [0.02 / (1 + at)]
        assert words(panel) == (f"“{prompt} …”", "perplexity of held text", f"p({concept})")
    assert list(figure_legend(exhibit)) == [
        "direction",
        "best neuron",
        "random direction or neuron",
        "direction of shuffled labels",
    ]


@says(steering_figure)
def test_gains_at_equal_fluency_are_said(shown: dict[str, Exhibit]) -> None:
    assert (
        "dog within 1.5 times the clean perplexity: direction +2.50, neuron +1.25, random "
        "direction +0.25, shuffled labels +0.50, random neuron +0.00; sea within 1.5 times the "
        "clean perplexity: direction +3.50, neuron +2.25, random direction +1.25, shuffled labels "
        "+1.50, random neuron +1.00. Grey"
    ) in shown["Steering m by directions and by neurons"].caption


@says(steering_figure)
def test_layers_neurons_and_texts_set_aside_are_said(shown: dict[str, Exhibit]) -> None:
    caption = shown["Steering m by directions and by neurons"].caption
    assert (
        "dog: block 15, neuron 29/808, 15 texts (examples); sea: block 3, neuron 29/808, 15 texts "
        "(waves: sea), 3 cut at the longest length, 4 without the label left out, 5 more not read. "
    ) in caption
    assert "what is subtracted or projected out does not count" in caption
    assert "middle block" not in caption
