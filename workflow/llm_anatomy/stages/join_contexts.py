"""Join what several jobs found in parts of the texts."""

from pathlib import Path

import pyarrow as pa

from llm_anatomy.config.base import Settings
from llm_anatomy.neurons.contexts import join_activity, join_contexts
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.contexts import ACTIVITY, ACTIVITY_PART, CONTEXTS, CONTEXTS_PART
from llm_anatomy.tables.core import TableSchema, open_table, read_arrow, read_provenance


class JoinContextsStage(Settings):
    """What this stage reads of the configuration."""

    count: int


def run(
    settings: JoinContextsStage,
    *,
    context_parts: tuple[Path, ...],
    activity_parts: tuple[Path, ...],
    contexts: Path,
    activity: Path,
) -> None:
    """Read the parts; write the strongest texts of all, and the activity over all."""
    provenance = read_provenance(context_parts[0])
    with (
        open_table(contexts, CONTEXTS, provenance) as found,
        open_table(activity, ACTIVITY, provenance) as sums,
    ):
        # Layer by layer, so that memory does not grow with their number.
        for layer in range(int(provenance["layers"])):
            strongest = _layer(context_parts, CONTEXTS_PART, layer)
            found.write(join_contexts(strongest, settings.count))
            sums.write(join_activity(_layer(activity_parts, ACTIVITY_PART, layer)))


def _layer(parts: tuple[Path, ...], schema: TableSchema, layer: int) -> list[pa.Table]:
    return [read_arrow(part, schema, where=[("layer", "=", layer)]) for part in parts]


if __name__ == "__main__":
    run_stage(run)
