"""What the paper says about facts (arXiv 2312.12141v4), and the least evidence for a verdict."""

from llm_anatomy.statistics.evidence import FACTS, IDENTITY, KNOWN_FACTS
from llm_anatomy.tables.claims import Statement

PAPER = "Yu & Ananiadou 2024"

SUMS = Statement(
    PAPER,
    "Importance of all attention and FFN layers sums to the log-probability that the answer gains "
    "between h^0 and h^L.",
    "exact by Eq. 13",
    "nat",
    IDENTITY,
)
# Summed importance of attention and FFN layers (Table 3): GPT2-large, Llama-7B.
LAYER_SUMS = {
    "languages": "attention 7.46, FFN 0.63; attention 6.28, FFN 1.74",
    "capitals": "attention 6.61, FFN 1.89; attention 5.03, FFN 4.30",
    "months": "attention 4.82, FFN 2.81; attention 5.10, FFN 3.05",
    "numbers": "attention 2.75, FFN 4.70; attention 2.22, FFN 5.60",
}
FFN_AHEAD = ("numbers",)


def _more(relation: str, ahead: str, behind: str) -> Statement:
    return Statement(
        PAPER,
        f"For {relation}, {ahead} layers bring more of the answer about than {behind} layers.",
        f"{LAYER_SUMS[relation]} (Table 3: GPT2-large; Llama-7B)",
        "nat",
        FACTS,
    )


ATTENTION_OR_FFN = {
    relation: _more(relation, "FFN", "attention")
    if relation in FFN_AHEAD
    else _more(relation, "attention", "FFN")
    for relation in LAYER_SUMS
}
LATE_PROBABILITY = Statement(
    PAPER,
    "From the embedding to the final state, the answer's log-probability rises from the start and "
    "its probability only late.",
    "p stays near 0 over the first 40 % of the way (Fig. 3, Llama-7B)",
    "%",
    FACTS,
)
LATER_NEURONS = Statement(
    PAPER,
    "Probability increase finds its neurons in later layers than log-probability increase.",
    "layers 23 to 31 against 17 to 31 of 32 (Fig. 2, Llama-7B)",
    "layers",
    FACTS,
)
BEST_METHOD = Statement(
    PAPER,
    "Switching off the FFN neurons with the highest log-probability increase hurts the answer more "
    "than those of any other method.",
    "MRR 0.361 to 0.201 (GPT2-large), 0.551 to 0.312 (Llama-7B); next best 0.214, 0.339",
    "%",
    KNOWN_FACTS,
)
RANDOM_NEURONS = {
    selection: Statement(
        PAPER,
        f"Switching off as many random neurons as {selection.replace('_', ' ')} hardly changes the "
        "answers.",
        value,
        "%",
        KNOWN_FACTS,
    )
    for selection, value in (
        ("value_neurons", "0.22 % of MRR"),
        ("query_neurons", "0.8 % of MRR"),
    )
}
DESTROYED = {
    selection: Statement(
        PAPER,
        f"Switching off a fact's best {selection.replace('_', ' ')} destroys the answer.",
        f"{value}, decrease of MRR",
        "%",
        KNOWN_FACTS,
    )
    for selection, value in (
        ("value_neurons", "96.3 % GPT2-large, 96.9 % Llama-7B"),
        ("query_neurons", "92 % GPT2-large, 87 % Llama-7B"),
    )
}
OWN_HEADS = Statement(
    PAPER,
    "Switching off a relation's best heads hurts its own facts more than other relations'.",
    "53.3 % against 9.5 % (GPT2-large), 48.2 % against 8.7 % (Llama-7B), unrelated types",
    "%",
    KNOWN_FACTS,
)
DEEP_LAYERS = Statement(
    PAPER,
    "The ten most important layers of a relation lie in the deeper half of the model.",
    "all of Table 4 (layers 19 to 34 of 36; 16 to 31 of 32)",
    "%",
    FACTS,
)
QUERY_ONLY = Statement(
    PAPER,
    "Most neurons that activate value neurons are not value neurons themselves.",
    "query-only neurons far outnumber query-value neurons (Fig. 8)",
    "%",
    FACTS,
)
SHALLOW_QUERIES = Statement(
    PAPER,
    "Neurons that activate value neurons, and are none themselves, lie in the shallower part of "
    "the model.",
    "their number begins to fall at 60 % of the depth (Fig. 8)",
    "%",
    FACTS,
)
SHARED_NEURONS = Statement(
    PAPER,
    "Facts of one relation share more of their value neurons than of their query neurons.",
    "27.6 % against 15.7 % (GPT2-large), 14.1 % against 5.2 % (Llama-7B), Table 8",
    "%",
    FACTS,
)

STATEMENTS = (
    SUMS,
    *ATTENTION_OR_FFN.values(),
    LATE_PROBABILITY,
    LATER_NEURONS,
    BEST_METHOD,
    *RANDOM_NEURONS.values(),
    *DESTROYED.values(),
    OWN_HEADS,
    DEEP_LAYERS,
    QUERY_ONLY,
    SHALLOW_QUERIES,
    SHARED_NEURONS,
)
