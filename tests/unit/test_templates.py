"""Placeholders, positions and layers that cannot do anything are refused in the configuration."""

import pytest
import yaml
from llm_anatomy.config.load import load_configuration
from llm_anatomy.config.patching import ArithmeticTask, ExtractiveQaTask, RelationTask
from llm_anatomy.config.templates import fill, place_of
from llm_anatomy.errors import UserError
from llm_anatomy.facts.prompts import ask
from llm_anatomy.patching.tasks import arithmetic_items, qa_items, relation_items

from tests.tiny import tiny_tokenizer

BASE = """
models: [{name: tiny, path: tiny-model}]
datasets:
- {name: r, kind: relation, path: r.csv, subject: country, answer: capital}
- {name: q, kind: qa, path: q.csv}
- {name: a, kind: articles, path: a.csv}
"""
RELATION = "studies: [patching]\npatching: {tasks: [{kind: relation, name: t, relation: r, %s}]}"
SUM = "studies: [patching]\npatching: {tasks: [{kind: arithmetic, name: t, prompt: '%s'}]}"
QA = (
    "studies: [patching]\n"
    "patching: {tasks: [{kind: extractive_qa, name: t, dataset: q, prompt: '%s'}]}"
)
SUMMARY = (
    "studies: [patching]\n"
    "patching: {tasks: [{kind: summarisation, name: t, dataset: a, prompt: '%s'}]}"
)
FREEZE = (RELATION % "max_examples: 2").removesuffix(
    "}"
) + ", manipulations: [{kind: freeze, name: f, %s}]}"
LAYERS = (RELATION % "max_examples: 2").removesuffix("}") + ", layers: %s}"
FACTS = "studies: [facts]\nfacts: {relations: [{relation: r, templates: ['%s']}]}"
CLAMP = "studies: [neurons]\nneurons: {clamping: {targets: [{concept: dog, prompt: '%s'}]}}"

REFUSED = {
    RELATION % "prompt: '{country}, that is {subject}, is'": ["tasks[0].prompt", "{country}"],
    RELATION % "prompt: 'The capital of {} is'": ["{} is not known", "{subject}"],
    RELATION % "prompt: 'The capital of {0} is'": ["{0} is not known", "{subject}"],
    RELATION % "prompt: 'The capital of { subject } is'": ["{ subject } is not known"],
    RELATION % "prompt: 'The capital of {{subject}} is'": ["one brace on each side"],
    RELATION % "prompt: 'The capital of {Subject} is'": ["{Subject}"],
    RELATION % "prompt: 'The capital of <subject> is'": ["no {subject}"],
    RELATION % "prompt: 'The capital of {subject} is '": ["tasks[0].prompt", "ends in a space"],
    RELATION % "donors: {prompt: 'The country'}": ["donors.prompt", "no {subject}"],
    RELATION % "demonstration: '{prompt}'": ["demonstration", "no {answer}"],
    RELATION % "demonstration: '{prompt} {answer} {subject}'": ["{subject} is not known"],
    SUM % "a + b =": ["no {a}"],
    SUM % "{a} plus b is": ["no {b}"],
    SUM % "{a:02d} + {b} =": ["{a:02d} is not known"],
    SUM % "{a} {operator} {b} =\u00a0": ["ends in a space"],
    QA % "Question: {question} Answer:": ["no {context}"],
    QA % "{context} {query}": ["{query} is not known"],
    SUMMARY % "TL;DR:": ["tasks[0].prompt", "no {article}"],
    FREEZE % "positions: [-1]": ["positions[0]' is -1", "at least 0"],
    FREEZE % "positions: []": ["positions' is []", "at least 1"],
    FREEZE % "positions: [2, 2]": ["2 is twice"],
    FREEZE % "positions: [0], keep_first: true": ["nothing is manipulated"],
    FREEZE % "positions: last": ['positions\' is "last"', "'previous'"],
    LAYERS % "[-1]": ["layers[0]' is -1", "at least 0"],
    LAYERS % "[]": ["layers' is []", "at least 1"],
    LAYERS % "[1, 1]": ["1 is twice"],
    "geometry: {extraction: {state_layers: [-2]}}": ["state_layers[0]' is -2", "at least 0"],
    FACTS % "The capital of {} is": ["templates[0]", "{} is not known", "{subject}"],
    FACTS % "The capital is": ["no {subject}"],
    FACTS % "The capital of {subject} is ": ["templates[0]", "ends in a space"],
    FACTS % "The capital of {subject}, not {city}, is": ["{city} is not known"],
    CLAMP % "My favourite ": ["targets[0].prompt", "ends in a space"],
    "studies: [neurons]\nneurons: {favourite: {prefill: 'The '}}": ["prefill", "ends in a space"],
    "studies: [neurons]\nneurons: {edit: {prompts: ['The ']}}": ["prompts[0]", "ends in a space"],
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_do_anything_is_one_sentence(text):
    with pytest.raises(UserError) as caught:
        load_configuration(yaml.safe_load(BASE + text), "mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml: ")
    assert "\n" not in message
    # No pattern of a regular expression answers a mistake.
    assert "^[" not in message
    for part in REFUSED[text]:
        assert part in message


@pytest.mark.parametrize(
    "text",
    [
        RELATION % "prompt: 'In {subject}, that is {subject}, one pays with'",
        RELATION % 'prompt: \'{"country": "{subject}", "capital":\'',
        RELATION % 'prompt: "{subject}\\nIts capital:\\n"',
        SUM % "What is {a} plus {b}?",
        SUM % r"\\frac{1}{2} and x^{2}: {a} + {b} =",
        QA % "{context} Q: {question} A:",
        FREEZE % "positions: [0, 7]",
        LAYERS % "[1, 0]",
    ],
)
def test_what_means_something_is_taken(text):
    load_configuration(yaml.safe_load(BASE + text), "mine.yaml")


def test_a_comparison_that_does_not_run_needs_no_matrices():
    neurons = "studies: [neurons]\nneurons: {map: {matrices: [down]}, comparison: {%s}}"
    texts = BASE + "- {name: d, path: d.csv}\n"
    load_configuration(yaml.safe_load(texts + neurons % "fine_tuned: false"), "mine.yaml")
    load_configuration(yaml.safe_load(texts + neurons % "matrices: [down]"), "mine.yaml")
    with pytest.raises(UserError, match=r"'neurons.comparison.matrices' names 'up'"):
        load_configuration(yaml.safe_load(texts + neurons % "changed: 3"), "mine.yaml")


def test_braces_in_a_value_stand_for_themselves():
    assert fill("{a} {b} {c}", a="{b}", b="x") == "{b} x {c}"
    task = ExtractiveQaTask(name="t", dataset="q")
    record = {"example_id": "1", "context": "A {question} B", "question": "why {context}?"}
    (item,) = qa_items(task, [record | {"answers": ["A"]}]).items
    assert item.prompt == "Context: A {question} B\nQuestion: why {context}?\nAnswer:"


def test_a_subject_is_found_where_its_last_mention_is_filled_in():
    template = "{subject} and {{x}} {subject} is"
    text = fill(template, subject="{subject}!")
    assert text == "{subject}! and {{x}} {subject}! is"
    at = place_of(template, "subject", subject="{subject}!")
    assert text[at:] == "{subject}! is"


def test_sums_are_written_with_lone_braces_as_they_are():
    task = ArithmeticTask(name="t", prompt="{ {a} {operator} {b} } =", first=(1, 1), shots=0)
    prompts = {item.prompt for item in arithmetic_items(task, 0).items}
    assert prompts == {f"{{ 1 + {b} }} =" for b in range(1, 10)}


@pytest.mark.parametrize("space", [" ", "  ", "\t", "\u00a0", "\u3000"])
def test_a_prompt_of_the_data_is_read_without_the_space_at_its_end(space):
    row = {"example_id": "1", "subject": "France", "answers": ["Paris"]}
    row["prompt"] = f"The capital of France is{space}"
    tokenizer = tiny_tokenizer()
    question = ask(tokenizer, row, "{subject}")
    assert question.prompt == "The capital of France is"
    assert question.options == {"Paris": (tokenizer(" Paris")["input_ids"][0], 1)}
    (item,) = relation_items(RelationTask(name="t", relation="r"), [row]).items
    assert item.prompt == "The capital of France is"
