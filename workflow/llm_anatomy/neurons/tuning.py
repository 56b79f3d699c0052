"""A short, seeded fine-tune of the whole model: next-token prediction with AdamW."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from llm_anatomy.config.neurons import FineTune
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.neurons.fitting import (
    TrainedSizes,
    check_some_fit,
    fitting_sentence,
    layers_that_fit,
)
from llm_anatomy.progress import track
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables.neurons import TRAINING

logger = logging.getLogger(__name__)

CLIP = 1.0
HELD_SHARE = 0.1
MAX_HELD = 8
IGNORE = -100


def fine_tune(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    settings: FineTune,
    seed: int,
    source: str = "the texts",
    trained: Sequence[nn.Module] | None = None,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Tune a model in place on texts.

    Args:
        model: A transformers causal language model in float32: bfloat16 loses steps of this size.
        tokenizer: Its tokenizer.
        texts: What to train on.
        settings: Steps, batch, learning rate.
        seed: Seed of the order of the texts.
        source: What the message calls the texts.
        trained: The blocks that are trained; the whole model when left out.

    Returns:
        The table `neurons/training`, and how many texts there were, were used and were too short.

    Raises:
        UserError: Fewer than two texts are long enough, or the loss diverges.
    """
    encoded = tokenizer(list(texts))["input_ids"]
    rows = [ids[: settings.max_tokens] for ids in encoded if len(ids) > 1]
    if len(rows) < 2:
        raise UserError(
            f"{source}: fewer than two texts have two tokens or more, too few to fine-tune on; set "
            "neurons.fine_tune.dataset to another data set, or neurons.comparison.fine_tuned "
            "to false"
        )
    steps = train(model, rows, settings, seed, trained)
    steps = track(steps, settings.steps, "steps", "fine_tune")
    curve = TRAINING.frame(steps)
    if not all(math.isfinite(loss) for loss in curve["loss"]):
        raise UserError(
            f"the fine-tune diverged (neurons.fine_tune.learning_rate is {settings.learning_rate});"
            " lower it"
        )
    counts = {
        "texts": len(texts),
        "texts_used": len(rows),
        "texts_too_short": len(texts) - len(rows),
    }
    if trained is not None:
        counts["trained_layers"] = len(trained)
    return curve, counts


def trained_blocks(
    decoder: Decoder, settings: FineTune, name: str, memory: tuple[float | None, str]
) -> list[nn.Module] | None:
    """The last blocks, as many as can be trained; None for the whole model.

    Args:
        decoder: The model, in float32.
        settings: How large a batch is.
        name: What messages call the model.
        memory: Bytes of the device and its name, as `device_memory` gives them.

    Raises:
        UserError: Not even the last block fits.
    """
    available, where = memory
    if available is None:
        return None
    blocks = [block.module for block in decoder.blocks]
    dense = [block.up.out_features for block in decoder.blocks if block.mlp is not None]
    sizes = TrainedSizes(
        n_layers=decoder.n_layers,
        parameters=sum(parameter.numel() for parameter in decoder.model.parameters()),
        layer_parameters=sum(parameter.numel() for parameter in blocks[-1].parameters()),
        d_model=decoder.d_model,
        n_neurons=max(dense, default=decoder.d_model),
        vocab_size=decoder.vocab_size,
    )
    count = layers_that_fit(sizes, settings, available)
    check_some_fit(count, name, available, where)
    if count is None:
        return None
    logger.warning("%s", fitting_sentence(count, decoder.n_layers, name))
    return blocks[-count:]


def learning_rate(step: int, settings: FineTune) -> float:
    """Linear warm-up, then cosine decay to a tenth of the peak; steps count from 1."""
    warm = max(1, round(settings.warmup * settings.steps))
    if step <= warm:
        return settings.learning_rate * step / warm
    done = (step - warm) / max(1, settings.steps - warm)
    return settings.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))


def split_held(rows: Sequence[list[int]], seed: int) -> tuple[list[list[int]], list[list[int]]]:
    """A seeded shuffle of the texts, and some kept out of training."""
    order = keyed_generator(seed, Purpose.TUNING_TEXTS).permutation(len(rows))
    shuffled = [rows[index] for index in order]
    held = min(MAX_HELD, max(1, round(HELD_SHARE * len(rows))))
    return shuffled[held:], shuffled[:held]


def loss_of(model: Any, rows: Sequence[list[int]]) -> tuple[Tensor, int]:
    """Mean cross-entropy per predicted token of a right-padded batch, and their number."""
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    targets = torch.full((len(rows), longest), IGNORE)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = targets[index, : len(row)] = torch.tensor(row)
    ids, targets = ids.to(model.device), targets.to(model.device)
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    labels = targets[:, 1:]
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE
    )
    return loss, int((labels != IGNORE).sum())


def train(
    model: Any,
    rows: Sequence[list[int]],
    settings: FineTune,
    seed: int,
    trained: Sequence[nn.Module] | None = None,
) -> Iterator[dict[str, Any]]:
    """Tune the model in place, one optimiser step per item.

    Args:
        model: A transformers causal language model in float32, without dropout active.
        rows: Token ids of the texts, two tokens or more each.
        settings: Steps, batch, learning rate.
        seed: Seed of the order of the texts.
        trained: The blocks that are trained; the whole model when left out.

    Yields:
        Rows of `neurons/training`.
    """
    training, held = split_held(rows, seed)
    modules = [model] if trained is None else trained
    for module in modules:
        module.requires_grad_(True)
    parameters = [parameter for module in modules for parameter in module.parameters()]
    # Fused: one pass over the parameters, which are many for so few tokens.
    optimiser = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=0.0, fused=True
    )
    for step in range(1, settings.steps + 1):
        held_loss = _held(model, held) if step == 1 else None
        start = (step - 1) * settings.batch
        batch = [training[(start + i) % len(training)] for i in range(settings.batch)]
        rate = learning_rate(step, settings)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss, tokens = loss_of(model, batch)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimiser.step()
        yield {
            "step": step,
            "loss": float(loss.detach()),
            "learning_rate": rate,
            "gradient_norm": float(norm),
            "tokens": tokens,
            "held_loss": _held(model, held) if step == settings.steps > 1 else held_loss,
        }
    model.requires_grad_(False)


@torch.no_grad()
def _held(model: Any, held: Sequence[list[int]]) -> float:
    return float(loss_of(model, held)[0])
