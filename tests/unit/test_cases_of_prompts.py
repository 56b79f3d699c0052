"""Whole configurations of users whose prompts could not do what they were written for."""

import pytest
import yaml
from llm_anatomy.config.load import load_configuration
from llm_anatomy.errors import UserError

BASE = """
studies: [{study}]
models: [{{name: tiny, path: tiny-model}}]
datasets:
- {{name: capitals, kind: relation, path: capitals.csv, subject: country, answer: capital}}
- {{name: remarks, path: remarks.csv, text: remark, labels: [angry]}}
- {{name: s, kind: articles, path: s.csv, summary: highlights}}
geometry: {{prompts: {{scorers: []}}}}
"""
FREEZE = "patching: {manipulations: [{kind: freeze, name: freeze}], tasks: [%s]}"

CASES = {
    "wrong placeholder": (
        "patching",
        FREEZE
        % "{kind: relation, name: t, relation: capitals, prompt: 'The capital of {country}, that "
        "is {subject}, is'}",
        "{country}",
    ),
    "donor without a subject": (
        "patching",
        "patching: {manipulations: [{kind: switch, name: switch}], tasks: [{kind: relation, "
        "name: t, relation: capitals, prompt: 'The capital of {subject} is', donors: {prompt: 'The "
        "country'}}]}",
        "donors.prompt",
    ),
    "sums without numbers": (
        "patching",
        FREEZE % "{kind: arithmetic, name: t, prompt: 'a + b ='}",
        "{a}",
    ),
    "summaries without an article": (
        "patching",
        FREEZE % "{kind: summarisation, name: t, dataset: s, prompt: 'TL;DR:', max_new_tokens: 3}",
        "{article}",
    ),
    "negative positions": (
        "patching",
        "patching: {manipulations: [{kind: freeze, name: f, positions: [-1]}], tasks: [{kind: "
        "relation, name: t, relation: capitals, prompt: 'The capital of {subject} is'}]}",
        "positions[0]",
    ),
    "a space at the end": (
        "facts",
        "facts: {relations: [{relation: capitals, templates: ['The capital of {subject} is ']}], "
        "filter: {top: null, above_others: false, ambiguous: keep}}",
        "ends in a space",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_of_a_manipulation_that_never_happens_does_not_begin(name):
    study, text, part = CASES[name]
    with pytest.raises(UserError) as caught:
        load_configuration(yaml.safe_load(BASE.format(study=study) + text), "mine.yaml")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
