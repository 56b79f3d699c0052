"""Every study on every family, and the page that says so."""

import pytest
import torch

from tests.support.checks import CHECKS
from tests.support.page import EXACT, PAGE, REFUSED, outcome, support_page
from tests.tiny import FAMILIES, PARTLY

RUNS = [(study, family) for family in [*FAMILIES, *PARTLY] for study in CHECKS]
# What holds of the families that only some studies cover; of the others it is patching.
HOLDS = {"gemma4": set(), "qwen3_5": {"toxicity", "neurons"}}


@pytest.fixture(scope="module", autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def outcomes():
    """What the tests of this module have seen, for the page."""
    return {}


@pytest.mark.parametrize(("study", "family"), RUNS)
def test_a_study_is_exact_on_a_family_or_refuses_it(study, family, outcomes, tmp_path):
    outcomes[family, study] = outcome(study, family, tmp_path)
    covered = family in FAMILIES or study in HOLDS.get(family, {"patching"})
    assert outcomes[family, study].startswith(EXACT if covered else REFUSED)


def test_the_page_says_what_was_seen(outcomes):
    if len(outcomes) < len(RUNS):
        pytest.skip("only some of the families ran")
    assert PAGE.read_text() == support_page(outcomes), "run `make docs`"
