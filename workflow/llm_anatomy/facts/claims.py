"""What the paper says, tested on the tables of a run (papers/facts, section 2)."""

from typing import Any

import pandas as pd

from llm_anatomy.tables.claims import claim_row

PAPER = "Yu & Ananiadou 2024"
BASELINES = ("norm", "coefficient", "coefficient_norm", "inverse_rank", "coefficient_rank")
DEEP = 0.5

Row = dict[str, Any]


def claims_of_model(
    model: str,
    facts: pd.DataFrame,
    layers: pd.DataFrame,
    answers: pd.DataFrame,
    queries: pd.DataFrame,
) -> list[Row]:
    """Every claim on one model; one that lacks its data has no verdict."""
    return [
        _telescoping(model, facts),
        _best_method(model, answers),
        *_random_controls(model, answers),
        _switched_off(model, answers, "value_neurons", "96.3 % GPT2-large, 96.9 % Llama-7B"),
        _switched_off(model, answers, "query_neurons", "92 % GPT2-large, 87 % Llama-7B"),
        _head_transfer(model, answers),
        _deep_layers(model, layers),
        _query_only(model, queries),
    ]


def _telescoping(model: str, facts: pd.DataFrame) -> Row:
    worst = None if facts.empty else float(facts["telescoping_error"].max())
    return claim_row(
        PAPER,
        "Importance of all attention and FFN layers sums to the log-probability that the answer "
        "gains between h^0 and h^L.",
        model,
        paper_value="exact by Eq. 13",
        measured_value=worst,
        unit="nat",
        holds=None if worst is None else worst <= 1e-4,
        note=f"Largest difference over {len(facts)} facts, the model's own log-probability as the "
        "end; holds up to 1e-4.",
    )


def _best_method(model: str, answers: pd.DataFrame) -> Row:
    means = _means(answers[(answers["selection"] == "ffn")], "method", "mrr_decrease")
    proposed = means.get("log_prob_increase")
    others = {name: means[name] for name in means if name not in ("log_prob_increase", "random")}
    best = max(others, key=lambda name: others[name], default=None)
    return claim_row(
        PAPER,
        "Switching off the FFN neurons with the highest log-probability increase hurts the answer "
        "more than those of any other method.",
        model,
        paper_value="MRR 0.361 to 0.201 (GPT2-large), 0.551 to 0.312 (Llama-7B); next best 0.214, "
        "0.339",
        measured_value=proposed,
        unit="%",
        holds=None if proposed is None or best is None else proposed > max(others.values()),
        note="Relative decrease of MRR, mean over relations"
        + ("." if best is None else f"; the best other method, {best}, has {others[best]:.1f} %.")
        + " Methods compared: "
        + ", ".join(sorted(means)),
    )


def _random_controls(model: str, answers: pd.DataFrame) -> list[Row]:
    papers = {
        "value_neurons": "0.22 % of MRR",
        "query_neurons": "0.8 % of MRR",
    }
    rows = []
    for selection, value in papers.items():
        drop = _drop(answers, selection, "random", "mrr_decrease")
        rows.append(
            claim_row(
                PAPER,
                f"Switching off as many random neurons as {selection.replace('_', ' ')} hardly "
                "changes the answers.",
                model,
                paper_value=value,
                measured_value=drop,
                unit="%",
                holds=None if drop is None else abs(drop) < 5,
                note="Relative decrease of MRR, mean over relations; holds below 5 %.",
            )
        )
    return rows


def _switched_off(model: str, answers: pd.DataFrame, selection: str, value: str) -> Row:
    method = "log_prob_increase" if selection == "value_neurons" else "inner_product"
    drop = _drop(answers, selection, method, "mrr_decrease")
    return claim_row(
        PAPER,
        f"Switching off a fact's best {selection.replace('_', ' ')} destroys the answer.",
        model,
        paper_value=f"{value}, decrease of MRR",
        measured_value=drop,
        unit="%",
        holds=None if drop is None else drop > 80,
        note="Relative decrease of MRR, mean over relations; holds above 80 %. The paper "
        "switches off 200 attention and 100 FFN value neurons, or 1,000 query neurons, of far "
        "larger models.",
    )


def _head_transfer(model: str, answers: pd.DataFrame) -> Row:
    heads = answers[(answers["selection"] == "heads") & (answers["method"] != "random")]
    own = heads[heads["relation"] == heads["heads_of"]]["prob_decrease"]
    other = heads[heads["relation"] != heads["heads_of"]]["prob_decrease"]
    measured = float(own.mean()) if len(own) else None
    return claim_row(
        PAPER,
        "Switching off a relation's best heads hurts its own facts more than other relations'.",
        model,
        paper_value="53.3 % against 9.5 % (GPT2-large), 48.2 % against 8.7 % (Llama-7B), unrelated "
        "types",
        measured_value=measured,
        unit="%",
        holds=None if measured is None or other.empty else measured > float(other.mean()),
        note="Relative decrease of the answer's probability by the best 1 % of heads"
        + ("." if other.empty else f"; other relations' facts lose {other.mean():.1f} %."),
    )


def _deep_layers(model: str, layers: pd.DataFrame) -> Row:
    whole = layers[layers["unit"].isin(["attention", "ffn"])]
    share = None
    if len(whole):
        top = (
            whole.sort_values("importance", ascending=False, kind="stable")
            .groupby("relation")
            .head(10)
        )
        share = float((top["layer"] >= DEEP * (whole["layer"].max() + 1)).mean()) * 100
    return claim_row(
        PAPER,
        "The ten most important layers of a relation lie in the deeper half of the model.",
        model,
        paper_value="all of Table 4 (layers 19 to 34 of 36; 16 to 31 of 32)",
        measured_value=share,
        unit="%",
        holds=None if share is None else share > 90,
        note="Share of the ten layers of every relation; holds above 90 %.",
    )


def _query_only(model: str, queries: pd.DataFrame) -> Row:
    share = None if queries.empty else float((~queries["also_value"]).mean()) * 100
    return claim_row(
        PAPER,
        "Most neurons that activate value neurons are not value neurons themselves.",
        model,
        paper_value="query-only neurons far outnumber query-value neurons (Fig. 8)",
        measured_value=share,
        unit="%",
        holds=None if share is None else share > 50,
        note="Query neurons that are not among the fact's stored value neurons; holds above 50 %.",
    )


def _means(answers: pd.DataFrame, by: str, value: str) -> dict[str, float]:
    return {str(name): float(part[value].mean()) for name, part in answers.groupby(by)}


def _drop(answers: pd.DataFrame, selection: str, method: str, value: str) -> float | None:
    found = answers[(answers["selection"] == selection) & (answers["method"] == method)]
    return float(found[value].mean()) if len(found) else None
