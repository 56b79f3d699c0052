"""Check the two statements of the theory on real texts."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.geometry import RegionChecks
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.hull import relative_distance
from llm_anatomy.geometry.last_token import read_last_token
from llm_anatomy.geometry.partition import arrangement_regions_log10, segment_regions
from llm_anatomy.geometry.regions import dense_mlp, mlp_output, towards_boundary
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import context_length, encode
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.progress import track
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import HULL_CHECKS, REGION_CHECKS


class CheckStage(Settings):
    """What this stage reads of the configuration."""

    precision: Precision
    checks: RegionChecks
    relative_threshold: float


def run(
    settings: CheckStage, *, model: Path, texts: Path, hull_checks: Path, region_checks: Path
) -> None:
    """Read some texts; write what the hull and the region statements give at their last tokens."""
    table = read_table(texts, TEXTS)
    if len(table) < 2:
        raise UserError(f"{texts} has {len(table)} texts; the checks need at least 2")
    chosen = table.iloc[evenly_spaced(len(table), settings.checks.texts)]
    loaded = load_model(model, settings.precision, compute_settings())
    decoder = loaded.decoder
    max_length = settings.checks.max_length
    max_length = min(max_length, context_length(decoder.config) or max_length)
    encoded = encode(loaded.tokenizer, list(chosen["text"]), max_length)
    hull_rows: list[dict[str, Any]] = []
    inputs: list[list[Tensor]] = []
    outputs: list[list[Tensor]] = []
    items = list(zip(chosen["text_id"], encoded.ids, strict=True))
    for text_id, ids in track(items, len(items), "texts", "check_regions"):
        seen = read_last_token(decoder, ids, settings.relative_threshold)
        hull_rows.extend(
            {
                "text_id": text_id,
                "layer": layer,
                "n_tokens": len(ids),
                "head_dim": decoder.blocks[layer].head_dim,
                "n_heads": decoder.blocks[layer].n_heads,
                **vars(check),
            }
            for layer, check in sorted(seen.hulls.items())
        )
        inputs.append([seen.mlp_inputs[layer] for layer in range(decoder.n_layers)])
        outputs.append([seen.mlp_outputs[layer] for layer in range(decoder.n_layers)])
    dimensions = {(row["text_id"], row["layer"]): row["relative_count"] for row in hull_rows}
    region_rows = []
    for layer in track(range(decoder.n_layers), decoder.n_layers, "layers", "check_regions"):
        region_rows.extend(
            _region_rows(
                decoder,
                layer,
                list(chosen["text_id"]),
                torch.stack([row[layer] for row in inputs]),
                torch.stack([row[layer] for row in outputs]),
                dimensions,
            )
        )
    provenance = loaded.provenance | settings.model_dump(exclude={"precision"})
    write_table(hull_checks, HULL_CHECKS, pd.DataFrame(hull_rows), provenance)
    write_table(region_checks, REGION_CHECKS, pd.DataFrame(region_rows), provenance)


def evenly_spaced(rows: int, count: int) -> list[int]:
    """At most `count` row numbers, evenly spaced over `rows`."""
    count = min(rows, count)
    return [index * rows // count for index in range(count)]


def _region_rows(
    decoder: Decoder,
    layer: int,
    text_ids: list[str],
    inputs: Tensor,
    outputs: Tensor,
    dimensions: dict[tuple[str, int], int],
) -> list[dict[str, Any]]:
    """Rows of `REGION_CHECKS` for one layer.

    Args:
        decoder: The model.
        layer: The layer.
        text_ids: The texts.
        inputs: Their MLP inputs at the last token, [texts, d_model].
        outputs: The model's own MLP outputs there, [texts, d_model].
        dimensions: Intrinsic dimension (relative) by text and layer.
    """
    block = decoder.blocks[layer]
    mlp = dense_mlp(block)
    h = mlp.preactivations(inputs)
    code = h > 0
    rebuilt = mlp.region_map(inputs, code)
    neighbours = towards_boundary(mlp, inputs, 0.5)
    rows = []
    for name, activation in (("model", block.activation), ("relu", torch.relu)):
        expected = (
            outputs if name == "model" else mlp_output(block, inputs, activation, decoder.dtype)
        )
        at_neighbours = mlp_output(block, neighbours, activation, decoder.dtype)
        rebuilt_there = mlp.region_map(neighbours, code)
        for index, text_id in enumerate(text_ids):
            rows.append(
                {
                    "text_id": text_id,
                    "layer": layer,
                    "activation": name,
                    "gated": mlp.gated,
                    "active_units": int(code[index].sum()),
                    "reconstruction_error": relative_distance(rebuilt[index], expected[index]),
                    "neighbour_error": relative_distance(
                        rebuilt_there[index], at_neighbours[index]
                    ),
                    "regions_to_next_text": segment_regions(
                        h[index], h[(index + 1) % len(text_ids)]
                    ),
                    "log10_regions_bound": arrangement_regions_log10(
                        h.shape[1], dimensions[text_id, layer]
                    ),
                }
            )
    return rows


if __name__ == "__main__":
    run_stage(run)
