"""The least evidence of every claim: documented, one number for one thing."""

import re
from pathlib import Path

from llm_anatomy.attribution.statements import STATEMENTS as ATTRIBUTION
from llm_anatomy.facts.statements import STATEMENTS as FACTS
from llm_anatomy.geometry.statements import STATEMENTS as GEOMETRY
from llm_anatomy.neurons.context_claims import STATEMENTS as CONTEXTS
from llm_anatomy.neurons.statements import STATEMENTS as NEURONS
from llm_anatomy.neurons.steering_claims import STATEMENTS as STEERING
from llm_anatomy.patching.statements import STATEMENTS as PATCHING
from llm_anatomy.statistics import evidence
from llm_anatomy.statistics.evidence import Least
from llm_anatomy.tables.claims import enough
from llm_anatomy.toxicity.statements import STATEMENTS as TOXICITY

EVERY = (*GEOMETRY, *TOXICITY, *NEURONS, *CONTEXTS, *STEERING, *PATCHING, *FACTS, *ATTRIBUTION)
PAGE = Path(__file__).parents[3] / "docs" / "claims.md"


def test_enough_is_the_least_or_more() -> None:
    assert [enough(n, Least(10, "texts")) for n in (0, 9, 10, 11)] == [False, False, True, True]


def test_every_claim_needs_what_the_page_says() -> None:
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| [^|]+ \|$", PAGE.read_text(), re.MULTILINE)
    listed = {of: int(count) for of, count in rows}
    known = [each for each in vars(evidence).values() if isinstance(each, Least)]
    assert listed == {least.of: least.count for least in known}
    assert len(listed) == len(known) == len(rows)
    assert {claim.least for claim in EVERY} == set(known)
    assert min(listed.values()) >= 1


def test_no_two_claims_say_the_same() -> None:
    assert len({claim.sentence for claim in EVERY}) == len(EVERY) > 50
