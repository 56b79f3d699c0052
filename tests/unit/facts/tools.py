"""A tiny decoder with recorded prompts, in float64, for the facts tests."""

from functools import cache

import torch
from llm_anatomy.facts.importance import Explained
from llm_anatomy.facts.readout import Readout, Target, Unembedding
from llm_anatomy.facts.record import Recording, record_prompts
from llm_anatomy.facts.subvalues import Subvalues
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.replay import Replay

from tests.tiny import tiny_model

# Llama with grouped queries; LayerNorm, Conv1D and biases; parallel blocks; gain 1 + weight and
# scaled embeddings; post-norms and soft-caps; post-norms alone; residual scale.
FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma", "gemma2", "olmo2", "granite", "falcon")
PROMPTS = [[5, 9, 20, 31, 7], [3, 8, 250], [11, 12, 13, 14, 15, 16, 17]]
DTYPE = torch.float64
TARGET = Target(42)


@cache
def decoder_of(family: str) -> Decoder:
    return resolve(tiny_model(family, dtype=DTYPE))


@cache
def replay_of(family: str) -> Replay:
    return Replay(decoder_of(family))


@cache
def recordings_of(family: str) -> dict[int, Recording]:
    return dict(record_prompts(decoder_of(family), PROMPTS, 64, DTYPE))


@cache
def shared_of(family: str) -> tuple[Subvalues, Unembedding]:
    return Subvalues(decoder_of(family), DTYPE), Unembedding(decoder_of(family), DTYPE)


def readout_of(family: str, prompt: int = 0, mode: str = "frozen") -> Readout:
    final = recordings_of(family)[prompt].states()[-1]
    return shared_of(family)[1].readout(final, mode)


def fact_of(
    family: str,
    prompt: int = 0,
    mode: str = "frozen",
    target: Target = TARGET,
    certify: bool = True,
) -> Explained:
    return Explained(
        recordings_of(family)[prompt],
        readout_of(family, prompt, mode),
        target,
        shared_of(family)[0],
        certify,
    )
