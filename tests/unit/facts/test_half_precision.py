"""The study in half precision: identities hold up to its rounding, numbers are float32's."""

import numpy as np
import pytest
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.facts import Attribution, FactRelation
from llm_anatomy.facts.experiment import attribute_facts
from llm_anatomy.statistics.rounding import accepted
from llm_anatomy.tables import facts as tables

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
