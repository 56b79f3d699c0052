"""The study in half precision: identities hold up to its rounding, numbers are float32's."""

import numpy as np
import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.facts import Attribution, FactRelation
from llm_anatomy.facts.experiment import attribute_facts
from llm_anatomy.facts.subvalues import Subvalues
from llm_anatomy.model.parts.projection import Projection
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.statistics.rounding import accepted
from llm_anatomy.tables import facts as tables

from tests.tiny import tiny_model
from tests.unit.facts.conftest import loaded_once
from tests.unit.facts.study import OPEN
from tests.unit.facts.test_experiments import relation_frame

RELATION = FactRelation(relation="capitals", templates=["The capital of {subject} is"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_layers_telescope_up_to_the_rounding_of_the_type(model, dtype):
    loaded = loaded_once(model, Precision(dtype=dtype), Compute())
    settings = Attribution(neurons=10, attention_neurons=5, head_positions=5, sums=1)
    found = attribute_facts(
        loaded, relation_frame("capitals"), RELATION, OPEN, settings, seed=0, batch_tokens=64
    ).frames
    facts = found[tables.FACTS]
    assert len(facts) == 4
    assert facts["telescoping_error"].max() <= accepted("telescoping", dtype)
    # Parts are float32 whatever the model is: their own sum is exact.
    layers = found[tables.LAYER_IMPORTANCE].groupby("example_id")["importance"].sum()
    gained = facts.set_index("example_id").eval("final_logprob - start_logprob")
    np.testing.assert_allclose(layers[gained.index], gained, atol=1e-6)
    assert found[tables.CERTIFICATES]["certified"].all()
    assert np.isfinite(found[tables.SUMS]["importance"]).all()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2", "olmo2", "phi3"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_columns_are_widened_when_they_are_asked_for_and_no_others(family, dtype, monkeypatch):
    """Widened whole, those of an 8B model would take 10 GB."""
    decoder = resolve(tiny_model(family, dtype=dtype))
    subvalues = Subvalues(decoder)
    for columns, role, norm in (
        (subvalues.ffn, "down", "mlp_post_norm"),
        (subvalues.attention, "o", "attention_post_norm"),
    ):
        whole = []
        for block in decoder.blocks:
            wide = getattr(block, role).weight(torch.float64)
            behind = getattr(block, norm)
            if behind is not None:
                wide = behind.gain.double()[:, None] * wide
            whole.append(wide)
        layers, places = torch.tensor([2, 0, 2, 1, 0]), torch.tensor([3, 0, 30, 7, 11])
        expected = torch.stack([whole[i][:, k] for i, k in zip(layers, places, strict=True)])
        for layer, wide in enumerate(whole):
            torch.testing.assert_close(columns[layer].double(), wide, atol=0, rtol=1e-6)
        with monkeypatch.context() as patch:
            patch.setattr(Projection, "weight", None)
            found = columns.gather(layers, places)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, atol=0, rtol=1e-6)
    assert subvalues.widths == [columns.shape[1] for columns in subvalues.ffn]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "phi3"])
def test_rows_and_columns_of_a_weight_are_those_of_the_whole(family):
    decoder = resolve(tiny_model(family, dtype=torch.bfloat16))
    picked = torch.tensor([5, 0, 9, 9])
    for block in decoder.blocks:
        for projection in (block.q, block.v, block.o, block.up, block.down):
            whole = projection.weight(torch.float32)
            rows = projection.weight_rows(picked, torch.float32)
            columns = projection.weight_columns(picked, torch.float32)
            assert torch.equal(rows, whole[picked])
            assert torch.equal(columns, whole[:, picked])
