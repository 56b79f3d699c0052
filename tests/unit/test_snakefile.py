"""Settings as rule parameters."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.rulebook.environment import stage_environment
from llm_anatomy.rulebook.settings import settings_json

texts = st.recursive(
    st.text() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(texts)
def test_reads_back_as_it_was_and_shows_snakemake_no_wildcard(value):
    text = settings_json(value=value)
    assert json.loads(text) == {"value": value}
    assert text.isascii()
    assert "\n" not in text
    # Structural braces stand before a quote or a closing brace; a wildcard before a word.
    assert all(after in '"}' for before, after in itertools.pairwise(text) if before == "{")


def test_holds_exactly_the_named_sections_whatever_their_order():
    both = settings_json(seed=1, precision=Precision())
    assert both == settings_json(precision=Precision(), seed=1)
    assert both != settings_json(precision=Precision(dtype="bfloat16"), seed=1)
    assert json.loads(settings_json(many=[Precision()])) == {
        "many": [{"dtype": "float32", "quantisation": "none"}]
    }


def test_compute_reaches_stages_through_the_environment(monkeypatch):
    from llm_anatomy.runner import compute_settings

    compute = Compute(device="cuda:1", threads=7, batch_tokens=99)
    for name, value in stage_environment(compute).items():
        monkeypatch.setenv(name, value)
    assert compute_settings() == compute
