"""Chunks: what the page loads is what was written, whatever strangers' texts hold."""

import json
import math
import re

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from llm_anatomy.atlas.chunks import (
    CHUNK_CHARACTERS,
    columns,
    packed,
    read_script,
    script,
    significant,
)

HOSTILE = ["</script>", "<img src=x onerror=alert(1)>", "\u2028", "\ud800", "]]>", "\x00", '"\\']
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.text(), documents)
def test_a_chunk_reads_back_and_its_script_is_one_call_with_two_plain_strings(name, document):
    text = script(name, document)
    assert read_script(text) == (name, document)
    # Nothing that a parser of HTML or of scripts could take for an end of either.
    assert text.isascii()
    assert text.count("\n") == 1
    assert "<" not in text
    assert re.fullmatch(r'LA\.chunk\("(?:[^"\\\n]|\\.)*","[A-Za-z0-9+/=]*"\)\n', text)


def test_the_same_document_makes_the_same_script():
    document = {"a": [1, 2.5, None], "b": "é"}
    assert script("n", document) == script("n", json.loads(json.dumps(document)))
    assert script("n", document) != script("n", {**document, "b": "e"})


@given(st.lists(st.floats(width=32)), st.integers(1, 6))
def test_numbers_keep_their_significant_digits_and_others_are_missing(values, digits):
    rounded = significant(np.array(values, dtype=np.float64), digits)
    for value, found in zip(values, rounded, strict=True):
        if not math.isfinite(value):
            assert found is None
        elif abs(value) < 1e-18:
            assert abs(found) <= 1e-18
        else:
            # Half a unit of the last digit that is kept.
            assert abs(found - value) <= abs(value) * 0.5000001 * 10 ** (1 - digits)
    assert json.loads(json.dumps(rounded)) == rounded


def test_short_numbers_are_written_short():
    assert json.dumps(significant([0.1 + 0.2, 2 / 3, 123456.7, 1.0])) == "[0.3, 0.6667, 123457, 1]"


def test_columns_are_plain_values_of_every_kind():
    frame = pd.DataFrame(
        {
            "text": ["a", None],
            "number": [1, 2],
            "value": [0.123456, np.nan],
            "flag": pd.Series([True, None], dtype=object),
            "list": [np.array(["x", "y"]), np.array([0.123456])],
        }
    )
    assert columns(frame) == {
        "text": ["a", None],
        "number": [1, 2],
        "value": [0.1235, None],
        "flag": [True, None],
        "list": [["x", "y"], [0.1235]],
    }


def test_packed_documents_are_found_by_their_key_and_no_chunk_is_much_too_large():
    wanted = {f"k{n}": {"n": n, "text": "x" * 30_000} for n in range(40)}
    *chunks, (name, places) = packed("docs", wanted.items())
    assert name == "docs"
    assert len(chunks) > 1
    by_name = dict(chunks)
    for key, document in wanted.items():
        assert by_name[f"docs-{places[key]:04d}"][key] == document
    assert all(len(json.dumps(chunk)) < 2 * CHUNK_CHARACTERS for _, chunk in chunks)
