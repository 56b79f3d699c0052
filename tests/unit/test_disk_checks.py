"""What a configuration names on the disk is checked before any job."""

import pytest
import yaml
from llm_anatomy.config.load import load_configuration
from llm_anatomy.config.ranges import check_layer, check_layer_count
from llm_anatomy.errors import UserError
from llm_anatomy.rulebook.checks import check_disk

from tests.tiny import save_tiny_model

MODEL = "models: [{name: mine, path: tiny-model}]\n"
CAPITALS = "datasets: [{name: capitals, kind: relation, builtin: capitals}]\n"
DOMAINS = "datasets: [{name: domains, builtin: domains}]\n"

MISTAKES = {
    "models: [{name: mine, path: nowhere}]": ["in 'models[0]': ", "there is no folder nowhere"],
    MODEL + "studies: [facts]\nfacts: {relations: [{relation: r}], case_study: null}\n"
    "datasets: [{name: r, kind: relation, path: nowhere.csv}]": ["'datasets[0]'", "nowhere.csv"],
    MODEL
    + "studies: [patching]\npatching: {tasks: [{kind: extractive_qa, name: qa, dataset: q}]}\n"
    "datasets: [{name: q, kind: qa, path: nowhere.json}]": [
        "in 'datasets[0]': the data set 'q': there is no file nowhere.json"
    ],
    MODEL + "studies: [geometry]\ngeometry: {inserts: {dataset: i}}\n"
    "datasets: [{name: domains, builtin: domains}, {name: i, kind: inserts, path: nowhere.csv}]": [
        "in 'datasets[1]': the data set 'i': there is no file nowhere.csv"
    ],
    MODEL + DOMAINS + "studies: [geometry]\ngeometry: {extraction: {state_layers: [0, 3]}}": [
        "the key 'geometry.extraction.state_layers' names layer 3, but the model 'mine' has the "
        "layers 0 to 2"
    ],
    MODEL
    + CAPITALS
    + "studies: [neurons]\nneurons: {favourite: {neuron: {layer: 9, neuron: 0}}}": [
        "'neurons.favourite.neuron.layer' names layer 9"
    ],
    MODEL + DOMAINS + "studies: [toxicity]\ntoxicity: {early_exit: {n_layers: [4]}}": [
        "the key 'toxicity.early_exit.n_layers' is 4, but the model 'mine' has 3 layers"
    ],
    MODEL + DOMAINS + "studies: [toxicity]\ntoxicity: {detector: {n_layers: 5}}": [
        "the key 'toxicity.detector.n_layers' is 5, but the model 'mine' has 3 layers"
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("disk")
    save_tiny_model(made / "tiny-model")
    return made


def checked(text):
    check_disk(load_configuration(yaml.safe_load(text), "mine.yaml"), "mine.yaml")


@pytest.mark.parametrize("text", MISTAKES)
def test_a_missing_file_or_layer_is_one_sentence(folder, monkeypatch, text):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError) as caught:
        checked(text)
    message = str(caught.value)
    assert message.startswith("mine.yaml: ")
    assert "\n" not in message
    for part in MISTAKES[text]:
        assert part in message


def test_what_no_picked_study_reads_is_not_looked_for(folder, monkeypatch):
    monkeypatch.chdir(folder)
    unread = "patching: {layers: [9]}\ngeometry: {inserts: {dataset: nowhere}}\n"
    checked(
        MODEL + CAPITALS + "studies: [facts]\nfacts: {relations: [{relation: capitals}]}\n" + unread
    )


def test_layers_of_a_model_that_is_yet_to_be_fetched_are_left_to_its_stages(folder, monkeypatch):
    monkeypatch.chdir(folder)
    checked(DOMAINS + "studies: [toxicity]\ntoxicity: {early_exit: {n_layers: [400]}}")


def test_a_prepared_model_says_how_deep_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared = tmp_path / "results/models/smollm2-135m-instruct"
    prepared.mkdir(parents=True)
    (prepared / "architecture.json").write_text('{"n_layers": 30}')
    text = DOMAINS + "studies: [toxicity]\ntoxicity: {early_exit: {n_layers: [%d]}}"
    checked(text % 30)
    with pytest.raises(UserError, match="is 31, but the model 'smollm2-135m-instruct' has 30"):
        checked(text % 31)


def test_a_layer_exists_from_0_and_a_count_up_to_all():
    for layer in (0, 2):
        check_layer("key", layer, 3)
    for layer in (-1, 3):
        with pytest.raises(UserError, match=f"names layer {layer}, but the model has the layers"):
            check_layer("key", layer, 3)
    check_layer_count("key", 3, 3)
    with pytest.raises(UserError, match="is 4, but the model has 3 layers"):
        check_layer_count("key", 4, 3)
