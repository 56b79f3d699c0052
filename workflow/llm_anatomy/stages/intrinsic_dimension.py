"""From attention counts to intrinsic dimensions."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.geometry import IntrinsicDimension
from llm_anatomy.geometry.activations import read_attention_counts
from llm_anatomy.geometry.intrinsic_dimension import dimension_frames
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_provenance, write_table
from llm_anatomy.tables.geometry import HEAD_DIMENSION, INTRINSIC_DIMENSION


class DimensionStage(Settings):
    """What this stage reads of the configuration."""

    intrinsic_dimension: IntrinsicDimension


def run(
    settings: DimensionStage,
    *,
    attention_counts: tuple[Path, ...],
    intrinsic_dimension: Path,
    head_dimension: Path,
) -> None:
    """Read the attention counts of all shards; write them per head, and summed over heads."""
    rows, counts = read_attention_counts(attention_counts)
    provenance = read_provenance(attention_counts[0])
    clip = settings.intrinsic_dimension.clip
    head_dim, d_model = int(provenance["head_dim"]), int(provenance["d_model"])
    summed, by_head = dimension_frames(rows, counts, clip, head_dim, d_model)
    provenance |= settings.model_dump()
    write_table(intrinsic_dimension, INTRINSIC_DIMENSION, summed, provenance)
    write_table(head_dimension, HEAD_DIMENSION, by_head, provenance)


if __name__ == "__main__":
    run_stage(run)
