"""What unit attribution asks of the fourth paper's method, and the least evidence for a verdict."""

from llm_anatomy.facts.statements import PAPER
from llm_anatomy.statistics.evidence import FACTS
from llm_anatomy.tables.claims import Statement

# The rankings that log-probability increase is held against, in words, and what the paper says.
RIVALS = {
    "prob_increase": "probability increase",
    "norm": "norm",
    "coefficient": "coefficient",
    "attribution_patching": "attribution patching",
    "relevance_patching": "relevance patching",
}
_OWN = "the best of eight by MRR with ten neurons switched off (Table 2); faithfulness not measured"
_OTHER = "not in the paper"


INCREASE_AHEAD = {
    rival: Statement(
        PAPER,
        "FFN neurons ranked by log-probability increase carry more of the answer than as many "
        f"ranked by {words}.",
        _OTHER if rival.endswith("patching") else _OWN,
        "",
        FACTS,
    )
    for rival, words in RIVALS.items()
}
STATEMENTS = tuple(INCREASE_AHEAD.values())
