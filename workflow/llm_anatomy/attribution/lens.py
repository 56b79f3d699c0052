"""The logit lens over layers and positions: what every state would say next, read as the last.

softmax(W_U n(h)) with the final norm n of each state's own scale, for the embedding and the state
behind every block. Behind the last block it is the model's own prediction.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.logprobs import log_probabilities
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import Replay


class LensGrid(NamedTuple):
    """What the states of one prompt say.

    Attributes:
        top_token: The most likely next token.
        top_probability: Its probability.
        rank: Rank of the answer's token among all, from 1.
        probability: Its probability.
    """

    top_token: Int[Tensor, "steps tokens"]
    top_probability: Float[Tensor, "steps tokens"]
    rank: Int[Tensor, "steps tokens"]
    probability: Float[Tensor, "steps tokens"]


@torch.no_grad()
def logit_lens(replay: Replay, tokens: Int[Tensor, " tokens"], answer: int) -> LensGrid:
    """Read every state of a prompt: the embedding, then the state behind every block.

    Args:
        replay: The decoder's blocks.
        tokens: The prompt.
        answer: First token of its answer.
    """
    state = replay.embed(tokens[None])
    rows = [_read(replay.decoder, state[0], answer)]
    for layer in range(replay.decoder.n_layers):
        state, _ = replay.block(layer, state)
        rows.append(_read(replay.decoder, state[0], answer))
    return LensGrid(*(torch.stack(parts).cpu() for parts in zip(*rows, strict=True)))


def _read(decoder: Decoder, states: Float[Tensor, "tokens d_model"], answer: int) -> LensGrid:
    logs = log_probabilities(unembedding_of(decoder).logits(states))
    own = logs[:, answer]
    top = logs.max(-1)
    rank = (logs > own[:, None]).sum(-1) + 1
    return LensGrid(top.indices, top.values.exp(), rank, own.exp())
