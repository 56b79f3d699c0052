"""Where a model's weights lie in its safetensors files, for stages that never build the model."""

from pathlib import Path
from typing import Any

from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.norm import Norm
from llm_anatomy.model.parts.projection import Projection
from llm_anatomy.model.source.shards import tensor_files


def architecture_json(decoder: Decoder, weights: Path) -> dict[str, Any]:
    """Map each role of a decoder to the tensor that holds it; works for a meta-device model.

    Returns:
        `n_layers`, `d_model`, `vocab_size`, `model_type`, `logit_scale`, `logit_softcap`;
        `head` {tensor, rows, transposed, tied}; `final_norm` {tensor, offset, centred, eps};
        `layers`, per layer `gate` (or null), `up`, `down` {tensor, rows, transposed}, where
        `rows` is [start, stop] of a fused tensor or null, and `mlp_norm` as `final_norm` or null.

    Raises:
        UserError: A tensor of the model is not in the files.
    """
    files = tensor_files(weights)
    embedding = decoder.model.get_input_embeddings()
    tied = decoder.head.module.weight is embedding.weight
    if tied:
        names = {module: name for name, module in decoder.model.named_modules()}
        tensor = _stored(f"{names[embedding]}.weight", files)
    else:
        tensor = _stored(f"{decoder.head.name}.weight", files)
    head = {"tensor": tensor, "rows": None, "transposed": False}
    return {
        "model_type": decoder.config.model_type,
        "n_layers": decoder.n_layers,
        "d_model": decoder.d_model,
        "vocab_size": decoder.vocab_size,
        "logit_scale": decoder.logit_scale,
        "logit_softcap": decoder.logit_softcap,
        "head": {**head, "tied": tied},
        "final_norm": _norm(decoder.final_norm, files),
        "layers": [
            {
                "gate": _projection(block.mlp.gate, files) if block.mlp else None,
                "up": _projection(block.mlp.up, files) if block.mlp else None,
                "down": _projection(block.mlp.down, files) if block.mlp else None,
                "mlp_norm": _norm(block.mlp_norm, files),
            }
            for block in decoder.blocks
        ],
    }


def _projection(projection: Projection | None, files: dict[str, str]) -> dict[str, Any] | None:
    if projection is None:
        return None
    tensor = _stored(f"{projection.name}.weight", files)
    rows = None
    if projection.rows is not None:
        rows = [int(projection.rows[0]), int(projection.rows[-1]) + 1]
    return {"tensor": tensor, "rows": rows, "transposed": projection.transposed}


def _norm(norm: Norm | None, files: dict[str, str]) -> dict[str, Any] | None:
    if norm is None:
        return None
    has_weight = getattr(norm.module, "weight", None) is not None
    return {
        "tensor": _stored(f"{norm.name}.weight", files) if has_weight else None,
        "offset": norm.gain_offset,
        "centred": norm.centred,
        "eps": norm.eps,
    }


def _stored(name: str, files: dict[str, str]) -> str:
    """The stored name of a parameter.

    Checkpoints may lack or add the base model's prefix, and GPT-NeoX stores its head as
    `embed_out`.
    """
    candidates = [name, name.split(".", 1)[-1]]
    candidates += [f"{prefix}.{name}" for prefix in ("model", "transformer", "language_model")]
    if name == "lm_head.weight":
        candidates = [name, "embed_out.weight"]
    found = next((candidate for candidate in candidates if candidate in files), None)
    if found is None:
        raise UserError(f"the tensor '{name}' is in none of the model's safetensors files")
    return found
