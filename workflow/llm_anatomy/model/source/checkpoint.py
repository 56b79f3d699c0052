"""Where a model's weights lie in its safetensors files, for stages that never build the model."""

from pathlib import Path
from typing import Any

from llm_anatomy.model.parts.architecture import Decoder, Mlp
from llm_anatomy.model.parts.norm import Norm
from llm_anatomy.model.parts.projection import Projection
from llm_anatomy.model.source.tensors import stored_names


def architecture_json(decoder: Decoder, weights: Path) -> dict[str, Any]:
    """Map each role of a decoder to the tensor that holds it; works for a meta-device model.

    Returns:
        `n_layers`, `d_model`, `vocab_size` (rows of the head), `token_rows` (those up to the last
        token), `tokenless` (those among them without a token), `model_type`, `logit_scale`,
        `logit_softcap`;
        `head` {tensor, rows, transposed, tied}; `final_norm` {tensor, offset, centred, eps};
        `layers`, per layer `gate` (or null), `up`, `down` {tensor, rows, transposed}, where
        `rows` is [start, stop] of a fused tensor or null, `mlp_norm` as `final_norm` or null, and
        `refusal`, why there are none, or null.
        A parameter that transformers puts together from several tensors has its own name.
    """
    # The experts of a mixture are put together from many tensors, and no stage reads its files.
    dense = all(block.mlp is not None for block in decoder.blocks)
    stored = stored_names(decoder.model, weights) if dense else {}
    tied = decoder.head.module.weight is decoder.model.get_input_embeddings().weight
    return {
        "model_type": decoder.config.model_type,
        "n_layers": decoder.n_layers,
        "d_model": decoder.d_model,
        "vocab_size": decoder.head.out_features,
        "token_rows": decoder.vocab_size,
        "tokenless": list(decoder.tokenless),
        "logit_scale": decoder.logit_scale,
        "logit_softcap": decoder.logit_softcap,
        "head": {**_projection(decoder.head, stored), "tied": tied},
        "final_norm": _norm(decoder.final_norm, stored),
        "layers": [
            {
                **_mlp(block.mlp, stored),
                "mlp_norm": _norm(block.mlp_norm, stored),
                "refusal": block.mlp_refusal,
            }
            for block in decoder.blocks
        ],
    }


def _mlp(mlp: Mlp | None, stored: dict[str, str]) -> dict[str, dict[str, Any] | None]:
    if mlp is None:
        return {"gate": None, "up": None, "down": None}
    return {
        "gate": None if mlp.gate is None else _projection(mlp.gate, stored),
        "up": _projection(mlp.up, stored),
        "down": _projection(mlp.down, stored),
    }


def _projection(projection: Projection, stored: dict[str, str]) -> dict[str, Any]:
    rows = None
    if projection.rows is not None:
        rows = [int(projection.rows[0]), int(projection.rows[-1]) + 1]
    return {
        "tensor": _stored(projection.name, stored),
        "rows": rows,
        "transposed": projection.transposed,
    }


def _norm(norm: Norm | None, stored: dict[str, str]) -> dict[str, Any] | None:
    if norm is None:
        return None
    has_weight = getattr(norm.module, "weight", None) is not None
    return {
        "tensor": _stored(norm.name, stored) if has_weight else None,
        "offset": norm.gain_offset,
        "centred": norm.centred,
        "eps": norm.eps,
    }


def _stored(module: str, stored: dict[str, str]) -> str:
    return stored.get(f"{module}.weight", f"{module}.weight")
