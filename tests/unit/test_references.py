"""Names that one section of the configuration gives and another must hold, and what follows."""

import pytest
import yaml
from llm_anatomy.config.load import load_configuration
from llm_anatomy.config.neurons import TunedModel
from llm_anatomy.config.root import Configuration
from llm_anatomy.errors import UserError

TEXTS = "datasets: [{name: mine, path: mine.csv, labels: [toxic]}]\n"
NEURONS = TEXTS + "models: [{name: m, path: m}, {name: m-tuned, path: t}]\nstudies: [neurons]\n"

MISTAKES = {
    "studies: [geometry]\ndatasets: []": [
        "the study 'geometry' needs a dataset of texts, and the key 'datasets' names none",
        "leave 'geometry' out of 'studies'",
    ],
    "studies: [geometry]\ndatasets: [{name: d, path: d.csv, study: false}]": ["'geometry' needs"],
    "studies: [toxicity]\ndatasets: [{name: d, path: d.csv}]": [
        "the study 'toxicity' needs a dataset of texts with labels",
        "give one 'labels', or leave 'toxicity' out of 'studies'",
    ],
    TEXTS + "studies: [toxicity]\ntoxicity: {transfer: [{train: mine, test: theirs}]}": [
        "the key 'toxicity.transfer' names the dataset 'theirs'",
        "the text datasets of the configuration are mine",
    ],
    TEXTS + "studies: [toxicity]\ntoxicity: {hard_negatives: [{dataset: mine, easy: theirs}]}": [
        "the key 'toxicity.hard_negatives' names the dataset 'theirs'"
    ],
    NEURONS + "neurons: {fine_tune: {model: other}}": [
        "the key 'neurons.fine_tune.model' names 'other', which is not configured",
        "known are m, m-tuned",
    ],
    NEURONS + "neurons: {fine_tune: {dataset: other}}": ["'neurons.fine_tune.dataset'", "mine"],
    NEURONS + "neurons: {activation: {dataset: other}}": ["'neurons.activation.dataset'", "mine"],
    NEURONS + "neurons: {contexts: {datasets: [other]}}": ["'neurons.contexts.datasets'", "mine"],
    TEXTS
    + "studies: [neurons]\n"
    + "neurons: {directions: {targets: [{concept: dog, prompt: A, dataset: mime, label: l}]}}": [
        "'neurons.directions.targets[0].dataset' names the data set of texts 'mime'",
        "did you mean 'mine'?",
    ],
    TEXTS
    + "neurons: {directions: {targets: [{concept: cow, prompt: A, dataset: mine, label: l}]}}": [
        "neurons.directions.targets names the concept 'cow', which neurons.search.concepts lacks"
    ],
    TEXTS + "neurons: {directions: {targets: [{concept: dog, prompt: A}]}}": [
        "the concept 'dog' needs either a dataset with a label, or positive and negative texts"
    ],
    TEXTS + "neurons: {directions: {targets: [{concept: dog, prompt: A, dataset: mine}]}}": [
        "the concept 'dog' names a dataset, but no label of it"
    ],
    NEURONS + "neurons: {comparison: {pairs: [{a: m, b: other}]}}": [
        "the key 'neurons.comparison.pairs' names 'other'"
    ],
    NEURONS: [
        "the tuned model would be called 'm-tuned', which 'models' holds already",
        "neurons.fine_tune.name",
    ],
    TEXTS + "studies: [facts]\nfacts: {relations: [{relation: rivers}]}": [
        "the key 'facts.relations[0].relation' is 'rivers', which is no relation of 'datasets'",
        "leave 'facts' out of 'studies'",
    ],
    TEXTS
    + "studies: [patching]\npatching: {tasks: [{kind: relation, name: t, relation: rivers}]}": [
        "the key 'patching.tasks[0].relation' is 'rivers'"
    ],
    TEXTS
    + "studies: [facts]\n"
    + "geometry: {prompts: {scorers: [{outcome: o, dataset: mime, label: l}]}}": [
        "'geometry.prompts.scorers' names the data set of texts 'mime'",
        "did you mean 'mine'?",
    ],
}


def configured(text):
    return load_configuration(yaml.safe_load(text), "mine.yaml")


@pytest.mark.parametrize("text", MISTAKES)
def test_a_name_that_is_not_there_is_one_sentence(text):
    with pytest.raises(UserError) as caught:
        configured(text)
    message = str(caught.value)
    assert message.startswith("mine.yaml: ")
    assert "\n" not in message
    for part in MISTAKES[text]:
        assert part in message


@pytest.mark.parametrize(
    "text",
    [
        "studies: [neurons]\ndatasets: []",
        "studies: [patching]\ndatasets: [{name: capitals, kind: relation, builtin: capitals}]",
        TEXTS + "studies: [geometry, toxicity]\nneurons: {fine_tune: {model: other}}",
    ],
)
def test_what_no_picked_study_reads_may_be_missing(text):
    configured(text)


DATA = """
studies: [toxicity, geometry]
models: [{name: a, path: a}, {name: b, path: b}]
datasets:
- {name: harmful_responses, builtin: harmful_responses}
- {name: refusals, path: mine.csv, labels: [refusal]}
- {name: plain, path: plain.csv}
- {name: parts_only, path: parts.csv, labels: [toxic], study: false}
- {name: mixed, parts: [{dataset: plain, positive: [odd]}]}
- {name: capitals, kind: relation, builtin: capitals}
"""


def test_says_which_data_each_study_runs_on():
    configuration = configured(DATA)
    assert configuration.picked_studies == ["geometry", "toxicity"]
    assert configuration.model_names == ["a", "b"]
    assert configuration.dataset_names == ["harmful_responses", "refusals", "plain", "mixed"]
    assert configuration.labelled_datasets == ["harmful_responses", "refusals", "mixed"]
    assert configuration.relation_names == ["capitals"]


def test_default_comparisons_and_scorers_need_the_data_that_they_are_made_for():
    configuration = configured(DATA)
    assert configuration.hard_negatives == []
    # The user's own data of the name `refusals` has other labels.
    assert [scorer.outcome for scorer in configuration.scorers] == ["harmful"]
    both = configured(DATA + "- {name: domains, builtin: domains}")
    assert [(c.dataset, c.easy) for c in both.hard_negatives] == [("harmful_responses", "domains")]
    assert both.toxicity.comparison("harmful_responses", "domains") == both.hard_negatives[0]


def test_named_entries_of_the_toxicity_study_are_found_again():
    toxicity = configured(
        DATA + "toxicity:\n"
        "  transfer: [{train: mixed, test: plain}, {train: plain, test: mixed, labels: [odd]}]\n"
        "  baselines: {hub_classifiers: [{name: c, path: p, positive: [toxic]}]}"
    ).toxicity
    assert toxicity.given_split("plain", "mixed").labels == ["odd"]
    assert toxicity.hub_classifier("c").path == "p"


def test_the_tuned_model_is_compared_with_its_base_beside_the_named_pairs():
    neurons = configured(
        "models: [{name: first, path: a}, {name: second, path: b}]\n"
        "neurons: {comparison: {pairs: [{a: second, b: first}]}}"
    ).neurons
    models, datasets = ["first", "second"], ["texts", "more"]
    assert neurons.tuned(models, datasets) == TunedModel("first-tuned", "first", "texts")
    assert neurons.pairs(models, datasets) == {
        "second-vs-first": ("second", "first"),
        "first-vs-first-tuned": ("first", "first-tuned"),
    }
    assert neurons.activation_dataset(datasets) == "texts"
    assert neurons.tuned(models, []) is neurons.activation_dataset([]) is None
    asked = neurons.model_copy(
        update={"fine_tune": neurons.fine_tune.model_copy(update={"dataset": "more"})}
    )
    assert asked.tuned(models, datasets) == TunedModel("first-tuned", "first", "more")
    off = neurons.model_copy(
        update={"comparison": neurons.comparison.model_copy(update={"fine_tuned": False})}
    )
    assert off.tuned(models, datasets) is None
    assert list(off.pairs(models, datasets)) == ["second-vs-first"]


def test_shards_and_sweeps_have_their_names_in_order():
    configuration = configured("geometry: {extraction: {shards: 3}}")
    assert configuration.geometry.extraction.shard_names == ["1-of-3", "2-of-3", "3-of-3"]
    sweeps = [
        manipulation.name for manipulation in configuration.patching.task_manipulations("capitals")
    ]
    assert sweeps == ["noise", "shuffle", "freeze", "skip", "switch"]


def test_the_report_shows_all_that_changes_its_numbers():
    shown = configured(DATA).shown()
    assert {"compute", "neurons", "patching", "facts"}.isdisjoint(shown)
    assert {"seed", "studies", "models", "datasets", "precision", "geometry"} <= set(shown)


def test_what_the_report_is_handed_is_a_configuration_again():
    configuration = configured(TEXTS + "studies: [toxicity]")
    assert Configuration.model_validate(configuration.shown()).shown() == configuration.shown()
