"""From attention counts to intrinsic dimensions."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.geometry import IntrinsicDimension
from llm_anatomy.geometry.activations import read_attention_counts
from llm_anatomy.geometry.intrinsic_dimension import THRESHOLDS, dimension_frame
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import open_table, read_provenance
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION


class DimensionStage(Settings):
    """What this stage reads of the configuration."""

    intrinsic_dimension: IntrinsicDimension


def run(
    settings: DimensionStage, *, attention_counts: tuple[Path, ...], intrinsic_dimension: Path
) -> None:
    """Read the attention counts of all shards; write them summed over heads."""
    clip = settings.intrinsic_dimension.clip
    provenance = read_provenance(attention_counts[0])
    head_dim, d_model = int(provenance["head_dim"]), int(provenance["d_model"])
    provenance |= settings.model_dump()
    with open_table(intrinsic_dimension, INTRINSIC_DIMENSION, provenance) as table:
        for threshold in THRESHOLDS:
            for rows, counts in read_attention_counts(attention_counts, threshold):
                table.write(dimension_frame(rows, counts, threshold, clip, head_dim, d_model))


if __name__ == "__main__":
    run_stage(run)
