"""A tiny decoder with prompts, for the patching tests."""

from functools import cache
from pathlib import Path

import torch
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.loading import sha256_file
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.model.source.record import write_record

from tests.tiny import save_tiny_model, tiny_model

FAMILIES = ("llama", "gpt2", "gpt_neox", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "mistral")
TOLERANCE = 1e-4


@cache
def replay_of(family: str, n_layers: int = 4) -> Replay:
    return Replay(resolve(tiny_model(family, num_hidden_layers=n_layers)))


def prompts(rows: int, length: int, shared: int = 0, seed: int = 0) -> torch.Tensor:
    """Random prompts of equal length with a common beginning."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 300, (rows, length), generator=generator)
    tokens[:, :shared] = tokens[:1, :shared]
    return tokens


def names(rows: int) -> tuple[str, ...]:
    return tuple(f"example {row}" for row in range(rows))


def saved_model(folder: Path) -> Path:
    """A tiny model as the rule prepare_model leaves it; returns its provenance file."""
    weights = save_tiny_model(folder / "weights", num_hidden_layers=4, max_position_embeddings=160)
    record = {
        "model": "tiny",
        "revision": "none",
        "weights_sha256": "none",
        "files": {path.name: sha256_file(path) for path in sorted(weights.iterdir())},
    }
    write_record(folder, record, {})
    return folder / "provenance.json"
