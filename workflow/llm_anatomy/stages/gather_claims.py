"""Join the claims of every study that ran into one table."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.claims import ALL_CLAIMS, CLAIMS
from llm_anatomy.tables.core import content_hashes, read_provenance, read_table, write_table


class GatherClaims(Settings):
    """Joining claims has no settings."""


def run(settings: GatherClaims, *, claims: tuple[Path, ...], gathered: Path) -> None:
    """Read the claims of every study, in the given order, and write them as one table."""
    frames = []
    for path in claims:
        schema = replace(CLAIMS, rule=f"claims_{path.parent.name}")
        frames.append(read_table(path, schema))
    filled = [frame for frame in frames if len(frame)]
    provenance = {
        "inputs": content_hashes(claims),
        "studies": {path.parent.name: read_provenance(path) for path in claims},
    }
    write_table(
        gathered,
        ALL_CLAIMS,
        pd.concat(filled, ignore_index=True) if filled else frames[0],
        provenance,
    )


if __name__ == "__main__":
    run_stage(run)
