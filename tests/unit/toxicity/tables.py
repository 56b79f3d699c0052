"""Small tables as the geometry study writes them, with a signal planted in one label."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from llm_anatomy.geometry.spline import N_FEATURES, feature_columns
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION, SPLINE_FEATURES, STATES

PROVENANCE = {"model": "tiny", "weights_sha256": "0" * 64, "dtype": "float32"}
N_LAYERS = 4


@dataclass(frozen=True)
class Inputs:
    texts: Path
    spline_features: Path
    intrinsic_dimension: Path
    states: tuple[Path, ...]


def write_inputs(
    folder: Path, n: int = 60, seed: int = 0, labels: dict | None = None, texts: list | None = None
) -> Inputs:
    """Write inputs of the toxicity stages.

    The spline features of layer 1 carry the label `bad`; nothing carries the label `other`.
    """
    rng = np.random.default_rng(seed)
    bad, other = rng.random(n) < 0.4, rng.random(n) < 0.3
    words = [f"w{i}" for i in range(40)]
    if texts is None:
        texts = [" ".join(rng.choice(words, size=rng.integers(5, 20))) for _ in range(n)]
    if labels is None:
        labels = {"bad": bad, "other": other}
    ids = [f"row-{seed}-{i}" for i in range(n)]
    frame = pd.DataFrame({"text_id": ids, "text": texts})
    for name, values in labels.items():
        frame[f"label_{name}"] = pd.array(values, dtype="boolean")
    features = rng.normal(size=(n, N_LAYERS, N_FEATURES))
    features[:, 1, :4] += 1.5 * bad[:, None]
    n_tokens = np.array([len(text.split()) + 1 for text in texts])
    spline = {"text_id": ids, "n_tokens": n_tokens, "truncated": [False] * n}
    spline |= {
        name: features.reshape(n, -1)[:, i] for i, name in enumerate(feature_columns(N_LAYERS))
    }
    dimension = pd.DataFrame(
        [
            {
                "text_id": text,
                "position": length - 1,
                "n_tokens": length,
                "layer": layer,
                "threshold": threshold,
                "count": (count := int(rng.integers(1, 20))),
                "dimension": count,
            }
            for text, length in zip(ids, n_tokens, strict=True)
            for threshold in ("relative", "absolute")
            for layer in range(N_LAYERS)
        ]
    )
    # In another order than the texts, as nothing promises the same one.
    shuffled = rng.permutation(n)
    states = {"text_id": [ids[i] for i in shuffled]}
    for layer in range(N_LAYERS):
        for summary in ("last", "mean"):
            values = rng.normal(size=(n, 5)).astype(np.float32)
            values[:, 0] += 2 * bad if summary == "mean" else 0
            states[f"l{layer}_{summary}"] = list(values[shuffled])
    inputs = Inputs(
        folder / "texts.parquet",
        folder / "spline_features.parquet",
        folder / "intrinsic_dimension.parquet",
        (folder / "states.parquet",),
    )
    write_table(inputs.texts, TEXTS, frame, {"dataset": "made"})
    write_table(inputs.spline_features, SPLINE_FEATURES, spline, PROVENANCE)
    write_table(inputs.intrinsic_dimension, INTRINSIC_DIMENSION, dimension, PROVENANCE)
    write_table(inputs.states[0], STATES, states, PROVENANCE)
    return inputs
