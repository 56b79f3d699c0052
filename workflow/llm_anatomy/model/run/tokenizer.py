"""A prepared model's tokenizer alone, for stages that tokenise and never run the model."""

from pathlib import Path
from typing import Any


def read_tokenizer(provenance: Path) -> tuple[Any, int | None]:
    """The tokenizer, and most tokens that the model reads; none where its configuration is silent.

    Args:
        provenance: The model's `provenance.json`, beside which its `weights/` lie.
    """
    from transformers import AutoConfig, AutoTokenizer

    weights = provenance.parent / "weights"
    tokenizer = AutoTokenizer.from_pretrained(weights, local_files_only=True)
    config = AutoConfig.from_pretrained(weights, local_files_only=True).get_text_config()
    return tokenizer, getattr(config, "max_position_embeddings", None)
