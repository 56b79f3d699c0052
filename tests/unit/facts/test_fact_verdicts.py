"""Every verdict of the facts study on tables made by hand, from its criterion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from llm_anatomy.facts import knock_out_claims
from llm_anatomy.facts.claims import FactsScope, facts_claims
from llm_anatomy.facts.statements import STATEMENTS
from llm_anatomy.tables.facts import (
    CURVE,
    FACTS,
    KNOCK_OUT,
    LAYER_SUMMARY,
    METHOD_LAYERS,
    NEURON_IMPORTANCE,
    QUERY_NEURONS,
    SHARED_NEURONS,
    TABLES,
)

from tests.unit.verdicts import (
    Case,
    Claim,
    Row,
    any_evidence,
    at,
    by_name,
    check_least_evidence,
    check_nothing_vanished,
    collect,
    missing_cases,
)

SUMS = Claim(
    "Importance of all attention and FFN layers sums to the log-probability that the answer gains "
    "between h^0 and h^L.",
    "nat",
    "holds up to 0.0001",
)
ATTENTION_AHEAD = {
    relation: Claim(
        f"For {relation}, attention layers bring more of the answer about than FFN layers.",
        "nat",
        "holds where all of it is above 0.",
    )
    for relation in ("languages", "capitals", "months")
}
FFN_AHEAD = Claim(
    "For numbers, FFN layers bring more of the answer about than attention layers.",
    "nat",
    "holds where all of it is below 0.",
)
RISE = Claim(
    "From the embedding to the final state, the answer's log-probability rises from the start and "
    "its probability only late.",
    "%",
    "reached at 40 % of the way, mean over relations",
)
LATER = Claim(
    "Probability increase finds its neurons in later layers than log-probability increase.",
    "layers",
    "holds above 0",
)
BEST = Claim(
    "Switching off the FFN neurons with the highest log-probability increase hurts the answer more "
    "than those of any other method.",
    "%",
    "Relative decrease of MRR, mean over relations",
)
RANDOM = {
    selection: Claim(
        f"Switching off as many random neurons as {selection.replace('_', ' ')} hardly changes the "
        "answers.",
        "%",
        "holds where all of it is within 5 %.",
    )
    for selection in ("value_neurons", "query_neurons")
}
DESTROYED = {
    selection: Claim(
        f"Switching off a fact's best {selection.replace('_', ' ')} destroys the answer.",
        "%",
        "holds where all of it is above 80 %.",
    )
    for selection in ("value_neurons", "query_neurons")
}
HEADS = Claim(
    "Switching off a relation's best heads hurts its own facts more than other relations'.",
    "%",
    "Relative decrease of the answer's mean probability",
)
DEEP = Claim(
    "The ten most important layers of a relation lie in the deeper half of the model.",
    "%",
    "holds above 90 %",
)
QUERY_ONLY = Claim(
    "Most neurons that activate value neurons are not value neurons themselves.",
    "%",
    "holds above 50 %",
)
SHALLOW = Claim(
    "Neurons that activate value neurons, and are none themselves, lie in the shallower part of "
    "the model.",
    "%",
    "below 60 % of the depth; holds above 60 %",
)
SHARED = Claim(
    "Facts of one relation share more of their value neurons than of their query neurons.",
    "%",
    "mean over relations with two facts or more",
)

PER_RELATION = (FACTS, CURVE, NEURON_IMPORTANCE)
PER_MODEL = (LAYER_SUMMARY, KNOCK_OUT, QUERY_NEURONS, METHOD_LAYERS, SHARED_NEURONS)
MRR = {
    ("ffn", "log_prob_increase"),
    ("ffn", "prob_increase"),
    ("ffn", "norm"),
    ("ffn", "random"),
    ("value_neurons", "log_prob_increase"),
    ("value_neurons", "random"),
    ("query_neurons", "inner_product"),
    ("query_neurons", "random"),
}
N_LAYERS = 10


def facts(**differences: Sequence[float]) -> dict[str, Any]:
    """Facts of relations, by how much attention is ahead of FFN."""
    return {
        "facts": {
            relation: [
                {
                    "example_id": f"{relation}-{i}",
                    "relation": relation,
                    "attention": 7 + difference,
                    "ffn": 7.0,
                    "telescoping_error": 1e-6,
                }
                for i, difference in enumerate(own)
            ]
            for relation, own in differences.items()
        }
    }


def sums(**errors: Sequence[float]) -> dict[str, Any]:
    tables = facts(**{relation: [1.0] * len(own) for relation, own in errors.items()})
    for relation, own in errors.items():
        for row, error in zip(tables["facts"][relation], own, strict=True):
            row["telescoping_error"] = error
    return tables


def rise(*points: tuple[float, float], start: float = 0.1, way: float = 0.4) -> dict[str, Any]:
    """Curves of relations by the shares of both rises at 40 % of the way.

    Probabilities rise from `start` to 1, log-probabilities from -10 to -2; points before and
    behind say the opposite.
    """
    tables = {}
    for relation, (logprob, probability) in zip(("capitals", "months"), points, strict=False):
        shares = {
            0.0: (0, 0),
            0.3: (0, 0.9),
            way: (logprob, probability),
            0.5: (0, 0.9),
            1.0: (1, 1),
        }
        tables[relation] = [
            {
                "share": share,
                "logprob": -10 + 8 * log,
                "probability": start + (1 - start) * plain,
            }
            for share, (log, plain) in shares.items()
        ]
    return {"curve": tables}


def ranked(**methods: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Layers and shares of the neurons that methods rank best."""
    return {
        "method_layers": [
            {"relation": f"r{i}", "method": method, "layer": layer, "share": share}
            for method, own in methods.items()
            for i, (layer, share) in enumerate(own)
        ]
    }


# Ranks of a relation's answers before and now.
Ranks = Mapping[str, tuple[Sequence[int], Sequence[int]]]


def knocked(
    ranks: Mapping[tuple[str, str], Ranks], elsewhere: Ranks | None = None
) -> dict[str, Any]:
    """Answers before and after; `elsewhere` is what every other selection does.

    Probabilities say nothing, and facts stand in another order than before.
    """
    rows: dict[str, list[Row]] = {"original": [], "now": []}
    others = {} if elsewhere is None else dict.fromkeys(MRR - set(ranks), elsewhere)
    for (selection, method), relations in (dict(ranks) | others).items():
        for relation, (before, now) in relations.items():
            own = {"relation": relation, "probability": 0.5}
            names = [f"{relation}-{i}" for i in range(len(before))]
            original = [
                own | {"example_id": name, "rank": rank, "selection": "original", "method": ""}
                for name, rank in zip(names, before, strict=True)
            ]
            rows["original"] += [row for row in original if row not in rows["original"]]
            rows["now"] += [
                own
                | {"example_id": name, "rank": rank, "selection": selection, "method": method}
                | {"units": 30 if method != "random" else 7}
                for name, rank in reversed(list(zip(names, now, strict=True)))
            ]
    return {"knock_out": rows["now"] + rows["original"]}


def one(before: Sequence[int], now: Sequence[int]) -> Ranks:
    return {"capitals": (before, now)}


def heads(*switched: tuple[str, str, Sequence[float]], random: bool = True) -> dict[str, Any]:
    """Probabilities, 0.8 before, by whose heads are switched off and whose facts are asked.

    Ranks, and random heads, say the opposite.
    """
    rows = [
        {
            "relation": relation,
            "example_id": f"{relation}-{i}",
            "selection": selection,
            "method": method,
            "heads_of": of,
            "probability": number,
            "rank": 1 if number < 0.5 else 9,
        }
        for of, relation, values in switched
        for i, value in enumerate(values)
        for selection, method, number in (
            ("heads", "random", 0.9 - value),
            ("heads", "importance", value),
        )
        if method != "random" or random
    ]
    asked = {(row["relation"], row["example_id"]) for row in rows}
    original = {"selection": "original", "method": "", "probability": 0.8, "rank": 2}
    rows += [
        {"relation": relation, "example_id": name} | original for relation, name in sorted(asked)
    ]
    return {"knock_out": rows}


def layers(**best: Sequence[int]) -> dict[str, Any]:
    """Importance of all layers, of which ten are ahead; heads and queries say the opposite."""
    rows = []
    for relation, own in best.items():
        left = list(own)
        for layer in range(N_LAYERS):
            for unit in ("attention", "ffn"):
                if ahead := layer in left:
                    left.remove(layer)
                row = {"relation": relation, "unit": unit, "layer": layer}
                rows.append(row | {"importance": (1.0 if ahead else -1.0) * (1 + layer)})
        for unit in ("head", "query_ffn"):
            row = {"relation": relation, "unit": unit, "importance": 99.0}
            rows += [row | {"layer": 9 - max(own, default=0)}] * 10
    return {"layer_summary": rows}


def queries(only: Sequence[int], also: Sequence[int]) -> dict[str, Any]:
    """Layers of query neurons that are no value neurons, and of those that are."""
    return {
        "query_neurons": [
            {
                "relation": "capitals",
                "example_id": "capitals-0",
                "layer": layer,
                "also_value": value,
            }
            for value, own in ((True, also), (False, only))
            for layer in own
        ]
    }


def shared(
    value: Mapping[str, int], query: Mapping[str, int], kept: tuple[int, int] = (10, 5)
) -> dict[str, Any]:
    """Neurons that facts share, of ten value and five query neurons that are kept of a fact.

    Another fact has fewer; a relation with one fact shares all of them with itself.
    """
    counts = dict(zip(("value", "query"), kept, strict=True))
    several = dict.fromkeys(("capitals", "months"), 2) | {"letters": 1}

    def best(relation: str, role: str) -> list[Row]:
        return [
            {"example_id": f"{relation}-{i}"}
            for i in range(several[relation])
            for _ in range(max(counts[role] - 3 * i, 0))
        ]

    rows = [
        {"relation": relation, "role": role, "neuron": i}
        for role, own in (("query", query), ("value", value))
        for relation, number in {**own, "letters": 10 if role == "query" else 0}.items()
        for i in range(number)
    ]
    asked = [row | {"relation": each} for each in several for row in best(each, "query")]
    return {
        **facts(**{relation: [1.0] * number for relation, number in several.items()}),
        "neuron_importance": {relation: best(relation, "value") for relation in several},
        "query_neurons": asked,
        "shared_neurons": rows,
    }


HALF, NOTHING = one([1, 1], [2, 2]), one([1, 1], [1, 1])
USUAL: dict[str, Any] = {
    "facts": {"capitals": []},
    "curve": {},
    "neuron_importance": {},
    # Ten layers; no claim is about their heads.
    "layer_summary": [{"unit": "head", "layer": N_LAYERS - 1, "importance": 9.0}],
    **knocked({}),
    **queries([], []),
    **ranked(),
    "shared_neurons": [],
}


def tables_of(model: str, tables: dict[str, Any]) -> dict[str, list[Row]]:
    relations = {relation for schema in PER_RELATION for relation in tables[_short(schema)]}
    made = {at(schema, model=model): tables[_short(schema)] for schema in PER_MODEL}
    for schema in PER_RELATION:
        for relation in relations:
            path = at(schema, model=model, relation=relation)
            made[path] = tables[_short(schema)].get(relation, [])
    return made


def _short(schema: Any) -> str:
    return str(schema.name.split("/")[1])


def claimed(folder: Path, tables: dict[str, Any], **precision: str) -> list[Row]:
    made = collect(folder, TABLES, tables_of("tiny", tables), **({"dtype": "float32"} | precision))
    relations = {relation for schema in PER_RELATION for relation in tables[_short(schema)]}
    return facts_claims(made, FactsScope(seed=0, models=["tiny"], relations=sorted(relations)))


IMPORTANCE = [
    Case(
        SUMS,
        "1e-4",
        sums(capitals=[1e-6, 1e-7], months=[1e-9, 1e-4]),
        True,
        1e-4,
        note=("Largest difference over 4 facts",),
    ),
    Case(SUMS, "one above it", sums(capitals=[0, 1.01e-4, 0], months=[0]), False, 1.01e-4),
    Case(SUMS, "no fact", {}, None),
    *[
        case
        for relation, claim in ATTENTION_AHEAD.items()
        for case in (
            Case(
                claim, "all facts", facts(**{relation: [1, 5], "letters": [-99]}), True, 3, (1, 5)
            ),
            Case(
                claim,
                "by the mean, not by the interval",
                facts(**{relation: [-1, 9], "numbers": [-99]}),
                None,
                4,
                (-1, 9),
                ("mean over 2 facts",),
                undecided=True,
            ),
            Case(
                claim,
                "from nothing on",
                facts(**{relation: [0, 9]}),
                None,
                4.5,
                (0, 9),
                undecided=True,
            ),
            Case(claim, "up to nothing", facts(**{relation: [-9, 0]}), False, -4.5, (-9, 0)),
            Case(claim, "FFN", facts(**{relation: [-1, -5], "letters": [99]}), False, -3, (-5, -1)),
            Case(claim, "other relations", facts(letters=[1, 1]), None),
        )
    ],
    Case(FFN_AHEAD, "all facts", facts(numbers=[-1, -5], capitals=[99]), True, -3, (-5, -1)),
    Case(
        FFN_AHEAD,
        "by the mean, not by the interval",
        facts(numbers=[-9, 5], capitals=[-9]),
        None,
        -2,
        (-9, 5),
        undecided=True,
    ),
    Case(FFN_AHEAD, "attention", facts(numbers=[0, 5], capitals=[-9]), False, 2.5, (0, 5)),
    Case(FFN_AHEAD, "other relations", facts(letters=[1, 1]), None),
    Case(
        RISE,
        "a tenth and a half",
        rise((0.5, 0.1)),
        True,
        10,
        note=(
            "of the log-probability's, 50 %",
            "holds when the first is below 20 % and the second above",
        ),
    ),
    Case(
        RISE,
        "mean of two relations",
        rise((0.3, 0.25), (0.7, 0.05), way=0.4 + 1e-12),
        True,
        15,
        note=("of the log-probability's, 50 %",),
    ),
    Case(RISE, "a fifth of the probability", rise((0.5, 0.2), start=0), False, 20),
    Case(RISE, "a fifth of the log-probability", rise((0.2, 0.1)), False, 10),
    Case(RISE, "both at once", rise((0.5, 0.5)), False, 50),
    Case(RISE, "both late", rise((0.1, 0.1)), False, 10),
    Case(RISE, "no curve", {}, None),
    Case(
        LATER,
        "more of the later layer",
        ranked(
            norm=[(0, 1), (1, 1)],
            log_prob_increase=[(10, 0.75), (20, 0.25)],
            prob_increase=[(10, 0.5), (20, 0.5)],
        ),
        True,
        2.5,
        note=("means 15.0 and 12.5",),
    ),
    Case(
        LATER,
        "earlier",
        ranked(log_prob_increase=[(20, 0.5), (9, 0.5)], prob_increase=[(20, 0.2), (10, 0.8)]),
        False,
        -2.5,
    ),
    Case(LATER, "the same", ranked(log_prob_increase=[(7, 1)], prob_increase=[(7, 1)]), False, 0),
    Case(LATER, "one method", ranked(log_prob_increase=[(7, 1)], norm=[(9, 1)]), None),
    Case(LATER, "the other method", ranked(prob_increase=[(7, 1)], norm=[(9, 1)]), None),
    Case(DEEP, "all of them", layers(a=[5, 6, 7, 8, 9] * 2), True, 100),
    Case(
        DEEP, "19 of 20", layers(a=[5, 6, 7, 8, 9] * 2, b=[4, 6, 7, 8, 9, *range(5, 10)]), True, 95
    ),
    # 100 of 110 are 90.9 %.
    Case(
        DEEP,
        "ten of eleven relations",
        layers(**{f"r{i}": [5, 6, 7, 8, 9] * 2 for i in range(10)}, last=[0, 1, 2, 3, 4] * 2),
        True,
        1000 / 11,
    ),
    Case(DEEP, "nine of ten", layers(a=[4, 6, 7, 8, 9, *range(5, 10)]), False, 90),
    Case(DEEP, "none", layers(a=[0, 1, 2, 3, 4] * 2), False, 0),
    Case(DEEP, "heads alone", {}, None),
    Case(QUERY_ONLY, "three of five", queries([1, 1, 1], [1, 1]), True, 60),
    Case(QUERY_ONLY, "51 of 101", queries([1] * 51, [1] * 50), True, 5100 / 101),
    Case(QUERY_ONLY, "half", queries([1, 1], [1, 1]), False, 50),
    Case(QUERY_ONLY, "one of four", queries([1], [1, 1, 1]), False, 25),
    Case(QUERY_ONLY, "none found", {}, None),
    Case(
        SHALLOW,
        "four of five below layer 6 of 10",
        queries([0, 5, 5, 5, 6], [9] * 9),
        True,
        80,
    ),
    Case(SHALLOW, "61 of 101", queries([5] * 61 + [6] * 40, [9]), True, 6100 / 101),
    Case(SHALLOW, "three of five", queries([0, 5, 5, 6, 9], [0] * 9), False, 60),
    Case(SHALLOW, "none", queries([6, 9], [0] * 9), False, 0),
    Case(SHALLOW, "all are value neurons", queries([], [0, 1]), None),
    Case(
        SHARED,
        "a fifth against a tenth",
        shared({"capitals": 3, "months": 1}, {"capitals": 1}),
        True,
        20,
        note=("; of query neurons 10.0 %.",),
    ),
    Case(SHARED, "as many", shared({"months": 2}, {"capitals": 1}), False, 10),
    Case(SHARED, "fewer, though more in number", shared({"months": 2}, {"months": 2}), False, 10),
    Case(SHARED, "none", shared({}, {"months": 1}), False, 0),
    Case(SHARED, "no query neurons", shared({"months": 2}, {}, kept=(10, 0)), None, 10),
    Case(SHARED, "no value neurons", shared({}, {"months": 1}, kept=(0, 5)), None),
]
BEST_NEURONS, BY_PROBABILITY = ("ffn", "log_prob_increase"), ("ffn", "prob_increase")
KNOCK_OUTS = [
    Case(
        BEST,
        "more than the best other one, and less than chance",
        knocked(
            {
                ("ffn", "norm"): NOTHING,
                BY_PROBABILITY: HALF,
                BEST_NEURONS: one([1, 1], [4, 4]),
                ("ffn", "random"): one([1, 1], [9, 9]),
                ("value_neurons", "norm"): one([1, 1], [9, 9]),
            }
        ),
        True,
        75,
        (75, 75),
        (
            "the best other method, prob_increase, has 50.0 %",
            "The difference is 25.0 (25.0 to 25.0)",
            "Methods compared: log_prob_increase, norm, prob_increase, random",
        ),
    ),
    Case(
        BEST,
        "relations count alike, whatever their facts",
        knocked(
            {
                BEST_NEURONS: {"capitals": ([1], [10]), "months": ([1, 1, 1], [2, 2, 2])},
                BY_PROBABILITY: {"capitals": ([1], [3]), "months": ([1, 1, 1], [3, 3, 3])},
            }
        ),
        True,
        70,
        (70, 70),
        ("has 66.7 %",),
    ),
    Case(
        BEST,
        "a relation's mean decreases by less than its facts",
        knocked({BEST_NEURONS: one([1, 2], [1, 4]), BY_PROBABILITY: one([1, 2], [1, 3])}),
        None,
        100 / 6,
        (0, 50),
        ("has 11.1 %", "The difference is 5.6 (0.0 to 16.7)"),
        undecided=True,
    ),
    Case(
        BEST,
        "fact by fact: each a little more than the other, though both vary",
        knocked({BEST_NEURONS: one([1, 1], [3, 9]), BY_PROBABILITY: one([1, 1], [2, 8])}),
        True,
        700 / 9,
        (200 / 3, 800 / 9),
        ("has 68.8 %",),
    ),
    Case(
        BEST,
        "as much as another",
        knocked({BEST_NEURONS: HALF, BY_PROBABILITY: HALF}),
        False,
        50,
        (50, 50),
    ),
    Case(
        BEST,
        "less than one of the others",
        knocked(
            {BEST_NEURONS: HALF, ("ffn", "norm"): NOTHING, BY_PROBABILITY: one([1, 1], [2, 3])}
        ),
        False,
        50,
        (50, 50),
    ),
    Case(
        BEST,
        "no other method but chance",
        knocked({BEST_NEURONS: HALF, ("ffn", "random"): NOTHING}),
        None,
        50,
        (50, 50),
    ),
    Case(BEST, "only others", knocked({BY_PROBABILITY: HALF}), None),
    *[
        case
        for selection, claim in RANDOM.items()
        for case in (
            Case(
                claim,
                "4 %",
                knocked({(selection, "random"): one([24, 24], [25, 25])}, one([24, 24], [99, 99])),
                True,
                4,
                (4, 4),
            ),
            Case(
                claim,
                "nothing on average",
                knocked({(selection, "random"): one([1, 2], [2, 1])}, one([1, 2], [9, 9])),
                None,
                0,
                (-100, 50),
                undecided=True,
            ),
            Case(
                claim,
                "4 % better",
                knocked({(selection, "random"): one([26, 26], [25, 25])}, one([26, 26], [9, 9])),
                True,
                -4,
                (-4, -4),
            ),
            Case(
                claim,
                "20 % better",
                knocked({(selection, "random"): one([6, 6], [5, 5])}, one([6, 6], [6, 6])),
                False,
                -20,
                (-20, -20),
            ),
            Case(
                claim,
                "10 % worse",
                knocked({(selection, "random"): one([9, 9], [10, 10])}, one([9, 9], [9, 9])),
                False,
                10,
                (10, 10),
            ),
            Case(claim, "not switched off", knocked({("ffn", "random"): NOTHING}), None),
        )
    ],
    *[
        case
        for selection, method in (
            ("value_neurons", "log_prob_increase"),
            ("query_neurons", "inner_product"),
        )
        for case in (
            Case(
                DESTROYED[selection],
                "from the first to the tenth",
                knocked({(selection, method): one([1, 1], [10, 10])}, NOTHING),
                True,
                90,
                (90, 90),
                ("Here 30 on average, there",),
            ),
            Case(
                DESTROYED[selection],
                "by the mean, not by the interval",
                knocked({(selection, method): one([1, 1], [4, 10])}, NOTHING),
                None,
                82.5,
                (75, 90),
                undecided=True,
            ),
            Case(
                DESTROYED[selection],
                "hardly more than 80 %",
                knocked({(selection, method): one([8, 8], [41, 41])}, one([8, 8], [8, 8])),
                True,
                3300 / 41,
                (3300 / 41, 3300 / 41),
            ),
            Case(
                DESTROYED[selection],
                "80 %",
                knocked({(selection, method): one([1, 1], [5, 5])}, one([1, 1], [99, 99])),
                False,
                80,
                (80, 80),
            ),
            Case(
                DESTROYED[selection],
                "half",
                knocked({(selection, method): HALF}, one([1, 1], [99, 99])),
                False,
                50,
                (50, 50),
            ),
            Case(DESTROYED[selection], "not switched off", knocked({BEST_NEURONS: HALF}), None),
        )
    ],
    Case(
        HEADS,
        "its own lose half, others a quarter",
        heads(
            ("capitals", "months", [0.6]),
            ("capitals", "capitals", [0.4, 0.4]),
            ("months", "months", [0.4]),
            ("months", "capitals", [0.6, 0.6]),
        ),
        True,
        50,
        (50, 50),
        ("other relations' facts lose 25.0 %",),
    ),
    Case(
        HEADS,
        "by the mean, not by the interval",
        heads(("capitals", "capitals", [0.8, 0.0]), ("capitals", "months", [0.6])),
        None,
        50,
        (0, 100),
        ("The difference is 25.0 (-25.0 to 75.0)",),
        # The relation's own two facts, not the other's one.
        evidence=2,
        undecided=True,
    ),
    Case(
        HEADS,
        "others lose as much",
        heads(("capitals", "capitals", [0.4]), ("capitals", "months", [0.4])),
        False,
        50,
        (50, 50),
    ),
    Case(
        HEADS,
        "others lose more",
        heads(("capitals", "capitals", [0.6]), ("capitals", "months", [0.4])),
        False,
        25,
        (25, 25),
    ),
    Case(HEADS, "one relation", heads(("capitals", "capitals", [0.4])), None, 50, (50, 50)),
    Case(HEADS, "no heads", knocked({BEST_NEURONS: HALF}), None),
]
CASES = [*IMPORTANCE, *KNOCK_OUTS]

__all__ = ["any_evidence"]
pytestmark = pytest.mark.usefixtures("any_evidence")

GOOD = USUAL | {
    **shared({"capitals": 3, "months": 1}, {"capitals": 1}),
    **facts(languages=[1, 1], capitals=[1, 1], months=[1, 1], numbers=[-1, -1]),
    **rise((0.5, 0.1)),
    **layers(a=[5, 6, 7, 8, 9] * 2),
    **ranked(log_prob_increase=[(7, 1)], prob_increase=[(8, 1)]),
}
GOOD["knock_out"] = [
    *knocked(
        dict.fromkeys(MRR, NOTHING)
        | {BEST_NEURONS: HALF}
        | dict.fromkeys(
            [("value_neurons", "log_prob_increase"), ("query_neurons", "inner_product")],
            one([1, 1], [9, 9]),
        )
    )["knock_out"],
    *[
        row
        for row in heads(("capitals", "capitals", [0.1]), ("months", "capitals", [0.4]))[
            "knock_out"
        ]
        if row["selection"] == "heads"
    ],
]
BAD = USUAL | {
    **shared({"months": 1}, {"months": 2, "capitals": 2}),
    **sums(languages=[1, 1], capitals=[1, 1], months=[1, 1], numbers=[1, 1]),
}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for the few facts here, whose intervals are known."""
    monkeypatch.setattr(knock_out_claims, "RESAMPLES", 100)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_verdict_follows_from_its_tables(case: Case, tmp_path: Path) -> None:
    case.check(claimed(tmp_path, USUAL | dict(case.changes)))


@pytest.mark.parametrize(
    ("precision", "error", "holds"),
    [
        ({"dtype": "float32"}, 2e-4, False),
        ({"dtype": "bfloat16"}, 0.35, True),
        ({"dtype": "bfloat16"}, 0.6, False),
        ({"dtype": "float16"}, 0.03, True),
        ({"dtype": "float16"}, 0.35, False),
        ({"dtype": "float16", "quantisation": "8bit"}, 0.35, True),
        ({"dtype": "float32", "quantisation": "none"}, 0.35, False),
    ],
)
def test_what_is_rounding_in_the_identity_depends_on_the_type_that_the_model_ran_in(
    precision: dict[str, str], error: float, holds: bool, tmp_path: Path
) -> None:
    rows = claimed(tmp_path, USUAL | sums(capitals=[error], months=[0]), **precision)
    (row,) = (row for row in rows if row["claim"] == SUMS.sentence)
    assert row["holds"] is holds
    assert precision["dtype"] in row["note"]


def test_every_claim_has_cases_for_and_against_it(tmp_path: Path) -> None:
    sentences = [row["claim"] for row in claimed(tmp_path, GOOD)]
    assert len(sentences) == len(set(sentences))
    assert missing_cases(sentences, CASES, {}) == []
    assert {case.claim.sentence for case in CASES} == set(sentences)


def test_verdicts_are_of_the_models_and_relations_asked_for(tmp_path: Path) -> None:
    tables = collect(
        tmp_path, TABLES, tables_of("bad", BAD) | tables_of("good", GOOD), dtype="float32"
    )
    asked = ["languages", "capitals", "months", "numbers"]
    rows = facts_claims(tables, FactsScope(seed=0, models=["good", "bad"], relations=asked))
    good = {row["claim"]: row["holds"] for row in rows if row["model"] == "good"}
    assert good == {case.claim.sentence: True for case in CASES}
    bad = {row["claim"]: row["holds"] for row in rows if row["model"] == "bad"}
    assert bad[SUMS.sentence] is bad[SHARED.sentence] is bad[FFN_AHEAD.sentence] is False
    few = facts_claims(tables, FactsScope(seed=0, models=["bad"], relations=["capitals"]))
    assert {row["claim"]: row["holds"] for row in few}[FFN_AHEAD.sentence] is None


# What is left away, and how many claims that leaves without a verdict.
LEFT_AWAY: list[tuple[dict[str, Any], int]] = [
    ({}, 0),
    ({"curve": {}}, 1),
    (rise((0.5, 0.1), start=1.0), 1),
    ({"method_layers": []}, 1),
    (ranked(log_prob_increase=[(7, 1)]), 1),
    (knocked({}), 6),
    (knocked({BEST_NEURONS: HALF}), 6),
    ({"knock_out": []}, 6),
    ({"layer_summary": [{"unit": "head", "layer": 9, "importance": 9.0}]}, 1),
    ({"query_neurons": []}, 3),
    ({"shared_neurons": []}, 0),
    (USUAL, len(STATEMENTS)),
]


@pytest.mark.parametrize(("changes", "untested"), LEFT_AWAY)
def test_no_claim_vanishes(changes: dict[str, Any], untested: int, tmp_path: Path) -> None:
    rows = claimed(tmp_path, GOOD | changes)
    check_nothing_vanished(rows, STATEMENTS)
    assert sum(row["holds"] is None for row in rows) == untested


@pytest.mark.parametrize("relation", ["languages", "capitals", "months", "numbers"])
def test_a_relation_that_is_not_studied_is_named(relation: str, tmp_path: Path) -> None:
    kept = {name: rows for name, rows in GOOD["facts"].items() if name != relation}
    rows = claimed(tmp_path, GOOD | {"facts": kept | {"letters": []}})
    check_nothing_vanished(rows, STATEMENTS)
    (row,) = [row for row in rows if row["dataset"] == relation]
    assert row["holds"] is None
    assert f"no fact of '{relation}' passes the filter" in row["note"]


def test_every_claim_needs_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_least_evidence(monkeypatch, lambda: claimed(tmp_path, GOOD), len(STATEMENTS))


@pytest.mark.parametrize(("count", "judged"), [(4, False), (5, True)])
def test_five_facts_of_a_relation_are_needed(
    count: int, judged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    rows = {
        row["claim"]: row
        for row in claimed(
            tmp_path, USUAL | facts(capitals=[1.0] * count) | rise((0.5, 0.1)) | layers(a=[5] * 2)
        )
    }
    for claim in (ATTENTION_AHEAD["capitals"], RISE, DEEP):
        assert (rows[claim.sentence]["holds"] is not None) == judged
        assert rows[claim.sentence]["evidence"] == count
    assert rows[SUMS.sentence]["holds"] is True


@pytest.mark.parametrize(
    ("ranks", "known"), [([10] * 10, 10), ([10] * 9 + [11], 9), ([9999] * 40, 0)]
)
def test_answers_that_nobody_knew_cannot_be_destroyed_or_kept(
    ranks: list[int], known: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With random neurons switched off an answer of rank 9,999 keeps it, and says nothing."""
    monkeypatch.undo()
    changes = knocked(dict.fromkeys(MRR, one(ranks, ranks)))
    rows = {row["claim"]: row for row in claimed(tmp_path, USUAL | changes)}
    for claim, holds in (
        *((each, True) for each in RANDOM.values()),
        *((each, False) for each in DESTROYED.values()),
        (BEST, False),
    ):
        row = rows[claim.sentence]
        assert (row["evidence"], row["least_evidence"]) == (known, 10)
        assert row["holds"] is (holds if known == 10 else None)


def test_ten_layers_must_fit_into_the_deeper_half(tmp_path: Path) -> None:
    made = layers(a=[5, 6, 7, 8, 9] * 2)
    small = [row for row in made["layer_summary"] if row["layer"] < 9]
    for rows, holds in ((made["layer_summary"], True), (small, None)):
        found = claimed(tmp_path / str(holds), GOOD | {"layer_summary": rows})
        (row,) = [row for row in found if row["claim"] == DEEP.sentence]
        assert row["holds"] is holds
