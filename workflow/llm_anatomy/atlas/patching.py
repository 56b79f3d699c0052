"""Patching, as the atlas shows it: what the model answers at every layer under a manipulation."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from llm_anatomy.atlas.chunks import Chunk, columns, packed
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.patching import CURVES, DEPTHS, EXAMPLES, PAIRS, SWEEPS

_SHOWN = [
    "donor_id",
    "layer",
    "seed",
    "strength",
    "prediction",
    "correct",
    "donor_correct",
    "f1",
    "rougeL",
    "gold_logprob",
    "gold_rank",
    "donor_logprob",
    "donor_rank",
    "kl",
]
CLEAN = "none"


def patching_chunks(tables: Collection, model: str, tasks: Sequence[str]) -> Iterator[Chunk]:
    """Everything that the atlas shows of a model's patching tasks.

    Args:
        tables: The study's tables of the model.
        model: The model.
        tasks: The tasks, in the order shown.

    Yields:
        `examples-NNNN` with examples under all manipulations, `examples` with the chunk of each,
        and last `index`: tasks, their examples, curves and depths.

    Raises:
        UserError: A table is missing or damaged.
    """
    index: dict[str, Any] = {}
    documents: list[tuple[str, Any]] = []
    for task in tasks:
        sweeps = tables.frame(SWEEPS, model=model, task=task)
        examples = tables.frame(EXAMPLES, model=model, task=task)
        clean = sweeps[sweeps["manipulation"] == CLEAN].drop_duplicates("example_id")
        shown = examples[["example_id", "prompt", "subject", "answer"]].merge(
            clean[["example_id", "prediction", "correct", "gold_logprob"]],
            on="example_id",
            how="left",
        )
        manipulations = [name for name in sweeps["manipulation"].unique() if name != CLEAN]
        index[task] = {
            "examples": columns(shown.astype({"correct": object})),
            "manipulations": manipulations,
            "curves": columns(tables.frame(CURVES, model=model, task=task)),
            "depths": columns(tables.frame(DEPTHS, model=model, task=task)),
        }
        documents.extend(_documents(task, sweeps, _donors(tables, model, task, examples)))
    yield from packed("examples", documents)
    yield "index", {"model": model, "tasks": index}


def _donors(
    tables: Collection, model: str, task: str, examples: pd.DataFrame
) -> dict[str, list[dict[str, Any]]]:
    """Id, prompt, subject and answer of every example's donors, in the order of the pairs.

    A counterfactual of the data is no example itself: it has a prompt and an answer, no subject.
    """
    subjects = dict(zip(examples["example_id"], examples["subject"], strict=True))
    donors: dict[str, list[dict[str, Any]]] = {}
    for row in tables.frame(PAIRS, model=model, task=task).to_dict("records"):
        donors.setdefault(str(row["example_id"]), []).append(
            {
                "donor": row["donor_id"],
                "prompt": row["donor_prompt"],
                "subject": subjects.get(row["donor_id"]),
                "answer": next(iter(row["donor_answers"]), ""),
            }
        )
    return donors


def _documents(
    task: str, sweeps: pd.DataFrame, donors: dict[str, list[dict[str, Any]]]
) -> Iterator[tuple[str, Any]]:
    """One document for every example, by `task/example`."""
    for example, rows in sweeps.groupby("example_id", sort=False):
        by_name = {
            str(name): columns(of_name[_SHOWN].astype({"correct": object, "donor_correct": object}))
            for name, of_name in rows.groupby("manipulation", sort=False)
        }
        yield f"{task}/{example}", {"sweeps": by_name, "donors": donors.get(str(example), [])}
