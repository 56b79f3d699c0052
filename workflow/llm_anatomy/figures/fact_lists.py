"""Which facts the facts study asked, with which template, and what was set aside: as tables."""

from collections.abc import Iterator

import pandas as pd

from llm_anatomy.facts.claims import FactsScope
from llm_anatomy.figures.exhibit import Exhibit
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.facts import FACTS, FACTS_INTAKE

FACT_COLUMNS = ("subject", "answer", "target", "rank", "probability", "rival", "prompt")
ASIDE_COLUMNS = ("subject", "answer", "outcome", "predicted", "rank", "probability")
# Facts that were set aside and are listed; the caption counts all of them by reason.
ASIDE_SHOWN = 60


def list_exhibits(tables: Collection, model: str, scope: FactsScope) -> Iterator[Exhibit]:
    """The facts of every relation, and those that were set aside."""
    for relation in scope.relations:
        owner = {"model": model, "relation": relation}
        intake = tables.frame(FACTS_INTAKE, **owner)
        if intake.empty:
            continue
        facts = tables.frame(FACTS, **owner)
        yield Exhibit(
            title=f"Facts of {relation} ({model})",
            caption=f"{len(facts)} facts are studied. {asked_with(intake)}",
            table=tables.path(FACTS, **owner),
            columns=FACT_COLUMNS,
            rows=tuple(facts.index),
        )
        aside = intake[intake["chosen"] & (intake["outcome"] != "used")]
        if len(aside):
            shown = aside.index[:ASIDE_SHOWN]
            yield Exhibit(
                title=f"Facts of {relation} that were set aside ({model})",
                caption=f"{why_aside(aside)} Shown: {len(shown)} of {len(aside)}.",
                table=tables.path(FACTS_INTAKE, **owner),
                columns=ASIDE_COLUMNS,
                rows=tuple(shown),
            )


def asked_with(intake: pd.DataFrame) -> str:
    """Which template is in use, and how many facts pass under each."""
    passed = intake["outcome"].isin(("used", "not sampled"))
    counts = passed.groupby(intake["template"], sort=False).agg(["sum", "size"])
    said = [f"“{name}” {row['sum']} of {row['size']}" for name, row in counts.iterrows()]
    chosen = intake.loc[intake["chosen"], "template"].unique()
    in_use = f"The template in use is “{chosen[0]}”. " if len(chosen) == 1 else ""
    return f"{in_use}Facts that pass, by template: {'; '.join(said)}."


def why_aside(aside: pd.DataFrame) -> str:
    """How many facts were set aside, by reason."""
    counts = aside["outcome"].value_counts(sort=True)
    return f"{len(aside)} in all: " + ", ".join(f"{n} {name}" for name, n in counts.items()) + "."
