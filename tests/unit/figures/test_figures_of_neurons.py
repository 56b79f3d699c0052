"""The neuron study's figures show the columns they name, and captions their tables' numbers."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from llm_anatomy.figures.exhibit import PALETTE, Exhibit
from llm_anatomy.figures.neuron_pairs import agreement_figure, training_figure
from llm_anatomy.figures.neurons import (
    activation_figure,
    clamp_figure,
    concept_figure,
    favourite_figure,
    first_answers,
    map_figure,
    neuron_figures,
    removed_concepts,
    specific_neurons,
    validation_figure,
)
from llm_anatomy.neurons.claims import NeuronScope
from llm_anatomy.tables.neurons import (
    ACTIVATION,
    AGREEMENT,
    CLAMPING,
    CONCEPTS,
    EDITS,
    FAVOURITE,
    SIGN_TESTS,
    STATISTICS,
    TRAINING,
    VOCABULARY,
)

from tests.unit.figures.drawn import (
    Unlabelled,
    bands,
    bars_across,
    by_title,
    dots,
    draws,
    figure_legend,
    legend,
    levels,
    line_of,
    lines,
    panels,
    rows_shown,
    says,
    unlabelled,
    words,
)
from tests.unit.figures.tables import Made, Rows, collection, filled

UP, GATE, DOWN = PALETTE[:3]
# Layer, matrix, sign, rank, token, probability.
TOKENS = [
    (0, "gate", 1, 1, 90, 0.9),
    (0, "up", 1, 1, 4, 0.001),
    (0, "up", 1, 1, 4, 0.01),
    (1, "up", 1, 1, 5, 0.02),
    (1, "up", 1, 1, 4, 0.1),
    (1, "up", 1, 1, 6, 1.0),
    (1, "up", 1, 2, 7, 0.5),
    (1, "up", -1, 1, 8, 0.5),
]
# Matrix and layer: entropies and kurtoses of three neurons.
PEAKED = {
    ("up", 0): ([1.0, 2.0, 9.0], [3.0, 4.0, 50.0]),
    ("up", 1): ([0.5, 1.5, 8.0], [5.0, 6.0, 60.0]),
    ("down", 0): ([3.0, 4.0, 11.0], [7.0, 8.0, 70.0]),
    ("down", 1): ([2.0, 6.0, 12.0], [9.0, 10.0, 80.0]),
}
# Concept, rank, layer, neuron, matrix, sign, cosine, hubness.
NAMED = [
    ("dog", 2, 1, 11, "up", 1, 0.25, 0.125),
    ("dog", 1, 3, 12, "down", -1, 0.75, 0.5),
    ("dog", 4, 2, 13, "up", 1, 0.0625, 0.375),
    ("sea", 1, 2, 14, "up", 1, 0.625, 0.25),
]
# Site, role: probability and perplexity at the values -10, 0 and 10.
CLAMPED = {
    ("up", "concept"): ([0.001, 0.01, 0.4], [30.0, 20.0, 90.0]),
    ("up", "control"): ([0.02, 0.03, 0.04], [21.0, 22.0, 23.0]),
    ("gate", "concept"): ([0.002, 0.0625, 0.3], [31.0, 24.0, 95.0]),
    ("gate", "control"): ([0.05, 0.06, 0.07], [25.0, 26.0, 27.0]),
}
# Condition, value, question, sample, mentions, p(concept), fluency.
ANSWERS = [
    ("clean", None, "q1", 0, False, 0.125, -1.0),
    ("clean", None, "q1", 1, True, 0.125, -2.0),
    ("clean", None, "q2", 0, False, 0.375, -3.0),
    ("clean", None, "q2", 1, False, 0.375, -2.0),
    ("clamped", 8.0, "q1", 0, True, 0.5, -4.0),
    ("clamped", 8.0, "q1", 1, True, 1.0, -6.0),
    ("clamped", 8.0, "q2", 0, True, 0.75, -5.0),
    ("clamped", 8.0, "q2", 1, False, 0.75, -5.0),
]
# Matrix, layer: neurons, raised, share, low, high, p, control.
SIGNS = [
    ("down", 0, 10, 9, 0.9, 0.6, 0.95, 0.02, 0.45),
    ("down", 1, 10, 2, 0.2, 0.1, 0.4, 0.01, 0.55),
    ("up", 0, 20, 11, 0.55, 0.4, 0.7, 0.6, 0.5),
    ("up", 1, 20, 16, 0.8, 0.6, 0.9, 0.03, 0.35),
    ("up", 2, 0, 0, None, None, None, None, None),
]
# Matrix, layer: share of strongest positions and of all, for the token and the next.
FIRED = {
    ("up", 0): [(0.2, 0.01, 0.3, 0.02), (0.4, 0.03, 0.1, 0.04)],
    ("up", 1): [(0.6, 0.05, 0.5, 0.06), (0.4, 0.07, 0.7, 0.08)],
    ("down", 0): [(0.1, 0.02, 0.9, 0.04), (0.1, 0.04, 0.7, 0.06)],
    ("down", 1): [(0.2, 0.06, 0.6, 0.08), (0.4, 0.08, 0.4, 0.02)],
}
# Concept, vectors, probability, KL on the held text.
EDITED = [
    ("dog", 0, 0.25, 0.0),
    ("dog", 4, 0.125, 0.001),
    ("dog", 16, 0.0625, 0.004),
    ("sea", 0, 0.5, 0.0),
    ("sea", 16, 0.375, 0.003),
]
# Matrix, head: same top token, low, high, Jaccard of layers 0 and 1; then of all.
AGREED = {
    ("up", "own"): [(0.8, 0.7, 0.85, 0.4), (0.6, 0.5, 0.65, 0.3)],
    ("up", "first"): [(0.9, 0.88, 0.92, 0.75), (0.7, 0.68, 0.75, 0.5)],
    ("down", "own"): [(0.5, 0.45, 0.6, 0.2), (0.4, 0.3, 0.42, 0.1)],
}
TOGETHER = {("up", "own"): (0.725, 0.9875), ("up", "first"): (0.8, 0.9), ("down", "own"): (0.45, 1)}
TRAINED = [(0, 4.0, 100, 5.25), (1, 3.0, 200, None), (2, 2.5, 1500, 3.5), (3, 2.0, 50, None)]


def named(names: str, rows: list) -> Rows:
    return [dict(zip(names.split(), row, strict=True)) for row in rows]


def concept_rows() -> Rows:
    return named("concept rank layer neuron matrix sign cosine hubness", NAMED)


def clamp_rows() -> Rows:
    own = {"concept": "dog", "prompt": "My pet", "layer": 3, "neuron": 12, "positions": "all"}
    clean = {"site": "", "operation": "none", "role": "concept"}
    rows = [own | clean | {"probability": 0.005, "perplexity": 18.0}]
    for (site, role), (probabilities, perplexities) in CLAMPED.items():
        swept = zip((0, 10, -10), (1, 2, 0), strict=True)  # not in order
        rows += [
            own
            | {"site": site, "role": role, "operation": "set", "value": value}
            | {"probability": probabilities[at], "perplexity": perplexities[at]}
            for value, at in swept
        ]
    # None of these is a point of the lines.
    base = own | {"site": "up", "role": "concept", "probability": 0.99, "perplexity": 999.0}
    rows.append(base | {"operation": "set", "value": 5.0, "kl_target": 0.5})
    rows.append(base | {"operation": "add", "value": 6.0})
    rows.append(base | {"operation": "set", "value": 7.0, "positions": "last"})
    return rows


def answer_rows() -> Rows:
    names = "condition value question sample mentions prefill_probability answer_logprob"
    return [r | {"answer": f"a{i}"} for i, r in enumerate(named(names, ANSWERS))]


def edit_rows() -> Rows:
    rows = named("concept rows probability held_kl", EDITED)
    return [row | {"prompt": f"My {row['concept']}"} for row in rows]


def study() -> Iterator[Made]:
    own = {"model": "m"}
    yield Made(VOCABULARY, named("layer matrix sign rank token_id probability", TOKENS), own)
    peaked = [
        {"matrix": matrix, "layer": layer, "entropy_positive": entropy, "kurtosis": kurtosis}
        for (matrix, layer), values in PEAKED.items()
        for entropy, kurtosis in zip(*values, strict=True)
    ]
    yield Made(STATISTICS, peaked, own)
    yield Made(CONCEPTS, concept_rows(), own)
    yield Made(CLAMPING, clamp_rows(), own)
    yield Made(FAVOURITE, answer_rows(), own)
    names = "matrix layer neurons raised share low high p_value control_share"
    yield Made(SIGN_TESTS, named(names, SIGNS), own)
    fired = [
        {"matrix": matrix, "layer": layer}
        | dict(zip(("here", "here_chance", "next", "next_chance"), row, strict=True))
        for (matrix, layer), rows in FIRED.items()
        for row in rows
    ]
    yield Made(ACTIVATION, fired, own)
    yield Made(EDITS, edit_rows(), own)
    agreed = []
    for (matrix, head), rows in AGREED.items():
        kind = {"matrix": matrix, "head": head}
        layers = named("same_top low high jaccard", rows)
        agreed += [kind | row | {"layer": layer} for layer, row in enumerate(layers)]
        same, cosine = TOGETHER[matrix, head]
        agreed.append(kind | {"same_top": same, "weight_cosine": cosine, "neurons": 1200})
    yield Made(AGREEMENT, agreed, {"model_a": "m", "model_b": "n"})
    yield Made(TRAINING, named("step loss tokens held_loss", TRAINED), own)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exhibit]]:
    tables = collection(tmp_path_factory.mktemp("neurons"), study())
    scope = NeuronScope(models=["m"], pairs=["m-vs-n"], favourite="dog", tuned="m")
    yield by_title(neuron_figures(tables, scope))
    plt.close("all")


@draws(map_figure)
def test_neurons_are_counted_by_layer_and_top_probability(shown: dict[str, Exhibit]) -> None:
    left, middle, right = panels(shown["What the neurons of m decode to"])
    (mesh,) = left.collections
    counts = np.ma.filled(mesh.get_array(), 0).reshape(mesh.get_array().shape)
    assert counts.sum(axis=0).tolist() == [2, 3]
    heights = mesh.get_coordinates()[:, 0, 1]
    assert (heights.min(), heights.max()) == (pytest.approx(-3), pytest.approx(0))
    assert words(left)[1:] == ("layer", "log10 p(top token), up")
    assert lines(middle) == {"up": [(0, 2.0), (1, 1.5)], "down": [(0, 4.0), (1, 6.0)]}
    assert lines(right) == {"up": [(0, 4.0), (1, 6.0)], "down": [(0, 8.0), (1, 10.0)]}
    assert words(middle)[1:] == ("layer", "median entropy (nats)")
    assert words(right)[1:] == ("layer", "median kurtosis of the logits")
    assert levels(right) == [3]
    assert legend(right.get_legend()) == {"up": UP, "down": DOWN}


@says(map_figure)
def test_top_probabilities_and_tokens_are_counted(shown: dict[str, Exhibit]) -> None:
    # Of 0.001, 0.01, 0.02, 0.1, 1; the 99th percentile is 0.1 + 0.96 · 0.9.
    assert (
        "m: every up-projection neuron decoded through the LM head. The top token has a median "
        "probability of 0.02 (99th percentile 0.96) over 5 neurons, which have 3 different top"
    ) in shown["What the neurons of m decode to"].caption


@draws(concept_figure)
def test_a_dot_is_a_neurons_hubness_and_cosine(shown: dict[str, Exhibit]) -> None:
    (panel,) = panels(shown["Neurons of concepts in m"])
    tint = {"dog": PALETTE[0], "sea": PALETTE[1]}
    assert sorted(dots(panel)) == sorted((tint[row[0]], row[7], row[6]) for row in NAMED)
    assert {"dog", "sea", "up", "down"} <= {t.get_text() for t in panel.get_legend().get_texts()}
    assert words(panel)[1:] == (
        "hubness: cosine with the nearest other words",
        "cosine with concept",
    )


@says(concept_figure)
def test_the_most_specific_neurons_are_named(shown: dict[str, Exhibit]) -> None:
    assert (
        "Most specific: dog: layer 3, neuron 12, down -1 (cosine 0.75, hubness 0.50); "
        "sea: layer 2, neuron 14, up +1 (cosine 0.62, hubness 0.25).\n"
    ) in shown["Neurons of concepts in m"].caption


@draws(specific_neurons)
@says(specific_neurons)
def test_three_neurons_of_a_concept_are_listed(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["The most specific neurons of m"]
    rows = rows_shown(exhibit, filled(CONCEPTS, concept_rows()))
    assert rows["neuron"].tolist() == [11, 12, 14]
    assert exhibit.caption.startswith("The three most specific neurons of every concept.")


@draws(clamp_figure)
def test_clamped_values_move_the_concept_above_and_perplexity_below(
    shown: dict[str, Exhibit],
) -> None:
    top, bottom = panels(shown["Clamping concept neurons in m"])
    values = (-10, 0, 10)
    swept = {key: [list(zip(values, at, strict=True)) for at in v] for key, v in CLAMPED.items()}
    assert lines(top) == {
        "up output": swept["up", "concept"][0],
        "gate output": swept["gate", "concept"][0],
    }
    assert legend(top.get_legend()) == {"up output": PALETTE[0], "gate output": PALETTE[1]}
    below = [
        Unlabelled(PALETTE[index], style, swept[site, role][1])
        for index, site in enumerate(("up", "gate"))
        for role, style in (("concept", "-"), ("control", ":"))
    ]
    assert [line for line in unlabelled(bottom) if len(line.points) == 3] == below
    controls = [
        Unlabelled(PALETTE[index], ":", swept[site, "control"][0])
        for index, site in enumerate(("up", "gate"))
    ]
    assert [line for line in unlabelled(top) if len(line.points) == 3] == controls
    assert (levels(top), levels(bottom)) == ([0.005], [18.0])
    assert words(top) == ("“My pet …”", "", "p(dog)")
    assert words(bottom) == ("", "clamped value", "perplexity of held text")


@says(clamp_figure)
def test_the_best_clamp_is_named_with_its_site(shown: dict[str, Exhibit]) -> None:
    assert (
        "p(dog) goes from 0.50% to 40.00% with layer 3, neuron 12 set to 10 at its up output "
        "(perplexity 18.0 to 90.0). Dotted"
    ) in shown["Clamping concept neurons in m"].caption


@draws(favourite_figure)
def test_answers_are_averaged_by_condition(shown: dict[str, Exhibit]) -> None:
    left, middle, right = panels(shown["Asking m for its favourite"])
    assert bars_across(left) == {"clean": 0.25, "clamped +8": 0.75}
    assert bars_across(middle) == {"clean": 0.25, "clamped +8": 0.75}
    assert bars_across(right) == {"clean": -2.0, "clamped +8": -5.0}
    assert [panel.get_xlabel() for panel in (left, middle, right)] == [
        "answers that mention it",
        "p(concept) after the prefill",
        "clean log-prob per token",
    ]
    assert left.get_xlim() == (0.0, 1.0)


@says(favourite_figure)
def test_mentions_and_fluency_are_said(shown: dict[str, Exhibit]) -> None:
    assert (
        "m: answers to 2 paraphrases of the question, greedy and sampled. Mentions of the "
        "concept: clean 25% (mean log-probability -2.00), clamped +8 75% (mean log-probability "
        "-5.00)."
    ) in shown["Asking m for its favourite"].caption


@draws(first_answers)
@says(first_answers)
def test_greedy_answers_to_the_first_question_are_listed(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["What m answers"]
    rows = rows_shown(exhibit, filled(FAVOURITE, answer_rows()))
    assert rows["answer"].tolist() == ["a0", "a4"]
    assert exhibit.caption == "The greedy answers to the first question under every condition."


@draws(validation_figure)
def test_shares_raised_have_bands_and_controls(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Does decoding predict behaviour in m?"]
    for panel, matrix, tint in zip(panels(exhibit), ("up", "down"), (UP, DOWN), strict=True):
        rows = [row for row in SIGNS if row[0] == matrix and row[4] is not None]
        assert bands(panel) == [(tint, [(row[1], row[5], row[6]) for row in rows])]
        share, control, chance = unlabelled(panel)
        assert share == Unlabelled(tint, "-", [(row[1], row[4]) for row in rows])
        assert control[1:] == (":", [(row[1], row[8]) for row in rows])
        assert chance.points == [(0, 0.5), (1, 0.5)]
        assert words(panel)[:2] == (matrix, "layer")
    assert panels(exhibit)[0].get_ylabel() == "share raised"
    assert list(figure_legend(exhibit)) == ["decoded token", "another neuron's token"]


@says(validation_figure)
def test_layers_above_chance_are_counted(shown: dict[str, Exhibit]) -> None:
    # 27 of 40 and 11 of 20; a share below one half is not above chance however small p is.
    assert (
        "up 68% overall, above chance (p < 0.05) in 1 of 2 layers; "
        "down 55% overall, above chance (p < 0.05) in 1 of 2 layers. Bands"
    ) in shown["Does decoding predict behaviour in m?"].caption


@draws(activation_figure)
def test_strongest_tokens_are_left_and_next_ones_right(shown: dict[str, Exhibit]) -> None:
    left, right = panels(shown["Do the words activate the neurons of m?"])
    expected = (
        (left, "token", {"up": [0.3, 0.5], "down": [0.1, 0.3]}, [[0.02, 0.06], [0.03, 0.07]]),
        (right, "next token", {"up": [0.2, 0.6], "down": [0.8, 0.5]}, [[0.03, 0.07], [0.05, 0.05]]),
    )
    for panel, name, shares, chances in expected:
        for matrix, values in shares.items():
            assert lines(panel)[matrix] == [(k, pytest.approx(v)) for k, v in enumerate(values)]
        assert unlabelled(panel) == [
            Unlabelled(tint, ":", [(k, pytest.approx(v)) for k, v in enumerate(values)])
            for tint, values in zip((UP, DOWN), chances, strict=True)
        ]
        assert words(panel)[:2] == (f"the {name} is a decoded one", "layer")
    assert left.get_ylabel() == "share of strongest positions"
    assert legend(left.get_legend()) == {"up": UP, "down": DOWN}


@says(activation_figure)
def test_shares_and_chances_are_said(shown: dict[str, Exhibit]) -> None:
    assert (
        "up, token: 40.00% (chance 4.00%); down, token: 20.00% (chance 5.00%); "
        "up, next token: 40.00% (chance 5.00%); down, next token: 65.00% (chance 5.00%). Dotted"
    ) in shown["Do the words activate the neurons of m?"].caption


@draws(removed_concepts)
@says(removed_concepts)
def test_edits_are_said_step_by_step(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Removing a concept from m"]
    assert (
        "p(dog) after “My dog”: 0.25 unedited, 0.12 with 4, 0.062 with 16; p(sea) after “My sea”: "
        "0.5 unedited, 0.38 with 16. At 16 vectors the median KL divergence on the held text is "
        "0.004 nats."
    ) in exhibit.caption
    rows = rows_shown(exhibit, filled(EDITS, edit_rows()))
    assert rows["probability"].tolist() == [0.25, 0.125, 0.0625, 0.5, 0.375]
    assert list(rows.columns)[3:] == ["probability", "kl", "held_kl", "smallest_cosine"]


@draws(agreement_figure)
def test_agreement_is_left_and_the_jaccard_index_right(shown: dict[str, Exhibit]) -> None:
    left, right = panels(shown["Agreement of m-vs-n"])
    tints = {"up": UP, "down": DOWN}
    styles = {"own": "-", "first": "--"}
    for (key, rows), band in zip(AGREED.items(), bands(left), strict=True):
        label = f"{key[0]}, {key[1]} head"
        assert lines(left)[label] == [(k, row[0]) for k, row in enumerate(rows)]
        assert line_of(left, label).get_linestyle() == styles[key[1]]
        assert band == (tints[key[0]], [(k, row[1], row[2]) for k, row in enumerate(rows)])
        assert legend(left.get_legend())[label] == tints[key[0]]
    assert unlabelled(right) == [
        Unlabelled(tints[matrix], styles[head], [(k, row[3]) for k, row in enumerate(rows)])
        for (matrix, head), rows in AGREED.items()
    ]
    assert levels(left) == [0.754]
    assert words(left)[1:] == ("layer", "same top token")
    assert words(right)[1:] == ("layer", "Jaccard index of the top tokens")


@says(agreement_figure)
def test_agreement_of_all_layers_is_said(shown: dict[str, Exhibit]) -> None:
    assert (
        "m-vs-n: neurons with the same top token in both models. up, own head: 72.5% of 1,200 "
        "neurons, weight cosine 0.9875; up, first head: 80.0% of 1,200 neurons, weight cosine "
        "0.9000; down, own head: 45.0% of 1,200 neurons, weight cosine 1.0000.\n"
    ) in shown["Agreement of m-vs-n"].caption


@draws(training_figure)
def test_losses_of_batches_and_of_texts_kept_out(shown: dict[str, Exhibit]) -> None:
    (panel,) = panels(shown["Fine-tuning m"])
    assert lines(panel) == {
        "batch": [(0, 4.0), (1, 3.0), (2, 2.5), (3, 2.0)],
        "texts kept out": [(0, 5.25), (2, 3.5)],
    }
    assert list(legend(panel.get_legend())) == ["batch", "texts kept out"]
    assert words(panel)[1:] == ("step", "cross-entropy (nats)")


@says(training_figure)
def test_steps_tokens_and_held_losses_are_said(shown: dict[str, Exhibit]) -> None:
    assert (
        "The fine-tune that made m: 4 steps, 1,850 tokens. Loss on texts kept out of training: "
        "5.25 before, 3.50 after."
    ) in shown["Fine-tuning m"].caption


def test_files_have_the_names_of_their_figures_and_tables(shown: dict[str, Exhibit]) -> None:
    assert [(e.figure, "/".join(e.table.parts[-2:])) for e in shown.values()] == [
        ("m-vocabulary.png", "m/vocabulary.parquet"),
        ("m-concepts.png", "m/concepts.parquet"),
        (None, "m/concepts.parquet"),
        ("m-clamping.png", "m/clamping.parquet"),
        ("m-favourite.png", "m/favourite.parquet"),
        (None, "m/favourite.parquet"),
        ("m-sign_tests.png", "m/sign_tests.parquet"),
        ("m-activation.png", "m/activation.parquet"),
        (None, "m/edits.parquet"),
        ("m-vs-n-agreement.png", "m-vs-n/agreement.parquet"),
        ("m-training.png", "m/training.parquet"),
    ]
