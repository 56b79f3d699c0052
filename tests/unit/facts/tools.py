"""A tiny decoder with recorded prompts, in float64, for the facts tests."""

from functools import cache

import torch
from llm_anatomy.facts.importance import Fact
from llm_anatomy.facts.readout import Readout, TargetToken
from llm_anatomy.facts.record import Recording, record_prompts
from llm_anatomy.facts.subvalues import Subvalues
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import Replay

from tests.tiny import tiny_model

# Llama with grouped queries; LayerNorm, Conv1D and biases; parallel blocks; gain 1 + weight and
# scaled embeddings; post-norms and soft-caps; post-norms alone; residual scale.
FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma", "gemma2", "olmo2", "granite", "falcon")
PROMPTS = [[5, 9, 20, 31, 7], [3, 8, 250], [11, 12, 13, 14, 15, 16, 17]]
DTYPE = torch.float64
TARGET = TargetToken(42)


@cache
def decoder_of(family: str) -> Decoder:
    return resolve(tiny_model(family, dtype=DTYPE))


@cache
def replay_of(family: str) -> Replay:
    return Replay(decoder_of(family))


@cache
def recordings_of(family: str) -> dict[int, Recording]:
    return dict(record_prompts(decoder_of(family), PROMPTS, 64))


@cache
def subvalues_of(family: str) -> Subvalues:
    return Subvalues(decoder_of(family))


def readout_of(family: str, prompt: int = 0, mode: str = "frozen") -> Readout:
    final = recordings_of(family)[prompt].states()[-1]
    return Readout(unembedding_of(decoder_of(family)), final, mode)


def fact_of(
    family: str,
    prompt: int = 0,
    mode: str = "frozen",
    target: TargetToken = TARGET,
    certify: bool = True,
) -> Fact:
    return Fact(
        recordings_of(family)[prompt],
        readout_of(family, prompt, mode),
        target,
        subvalues_of(family),
        certify,
    )
