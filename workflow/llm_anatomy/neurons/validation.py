"""Does clamping a neuron raise the token it decodes to? A sample of every layer, with a sign test.

For a neuron and a direction s = +1 or -1 the site of the decoded matrix (up output for `up`, gate
output for `gate`, activation for `down`) is moved by s times the clamp size at the last position,
and the log-probability of the top token of s * w is compared with the clean model's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import binomtest
from torch import Tensor

from llm_anatomy.config.neurons import Matrix, Site, Validation
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.mlp_sites import SITE_OF, Note, noted, sites_there
from llm_anatomy.model.run.prompts import raw_ids
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.clamping import Clamp, positions_mask
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.sample import DecodedTokens, matrices_of, neurons_of
from llm_anatomy.progress import Progress
from llm_anatomy.statistics.intervals import exact_interval
from llm_anatomy.tables.neurons import SIGN_TESTS, VALIDATION


def validate_neurons(
    runner: PromptRunner,
    tokenizer: Any,
    vocabulary: Vocabulary,
    decoded: DecodedTokens,
    settings: Validation,
) -> pd.DataFrame:
    """Clamp a sample of neurons in every layer and see what becomes of their decoded tokens.

    Args:
        runner: The model.
        tokenizer: Its tokenizer.
        vocabulary: Its tokens.
        decoded: The sampled neurons' decoded tokens (`sample.sampled_tokens`).
        settings: Prompts and strength.

    Returns:
        The table `neurons/validation`; `layer_sign_tests` tests it.

    Raises:
        UserError: A layer has fewer neurons than are to be sampled.
    """
    decoder = runner.decoder
    for block in decoder.blocks:
        if settings.neurons_per_layer > block.n_neurons:
            raise UserError(
                f"neurons.validation.neurons_per_layer is {settings.neurons_per_layer}, but layer "
                f"{block.index} has only {block.n_neurons} neurons"
            )
    prompts = {prompt: raw_ids(tokenizer, prompt) for prompt in settings.prompts}
    sizes = site_sizes(decoder, list(prompts.values()))
    matrices = [matrix for matrix in SITE_OF if matrix in matrices_of(decoded)]
    rows: list[dict[str, Any]] = []
    with Progress(decoder.n_layers * len(matrices), "matrices", "validate_neurons") as progress:
        for layer in range(decoder.n_layers):
            neurons = neurons_of(decoded, layer)
            for matrix in matrices:
                tokens = {
                    (neuron, sign): decoded[layer, matrix, neuron, sign][0]
                    for neuron in neurons
                    for sign in (1, -1)
                }
                size = settings.strength * sizes[layer, SITE_OF[matrix]]
                for prompt, ids in prompts.items():
                    for row in validate_layer(runner, ids, layer, matrix, neurons, tokens, size):
                        text = vocabulary.text(row["token_id"])
                        rows.append(row | {"prompt": prompt, "token": text})
                progress.advance()
    return VALIDATION.frame(rows)


@torch.no_grad()
def site_sizes(decoder: Decoder, prompts: Sequence[Sequence[int]]) -> dict[tuple[int, Site], float]:
    """Largest absolute value of every site at the last position of the prompts, per layer."""
    sizes: dict[tuple[int, Site], float] = {}

    def of_layer(layer: int) -> Note:
        def note(site: Site, values: Float[Tensor, "*rest neurons"]) -> None:
            last = values.reshape(-1, values.shape[-1])[-1]
            sizes[layer, site] = max(sizes.get((layer, site), 0.0), float(last.abs().max()))

        return note

    notes = [
        (block, dict.fromkeys(sites_there(block), of_layer(block.index)))
        for block in decoder.blocks
    ]
    for prompt in prompts:
        with noted(notes):
            ids = torch.tensor([list(prompt)], device=decoder.device)
            decoder.body(input_ids=ids, use_cache=False)
    return sizes


def validate_layer(
    runner: PromptRunner,
    prompt: Sequence[int],
    layer: int,
    matrix: Matrix,
    neurons: Sequence[int],
    tokens: Mapping[tuple[int, int], int],
    size: float,
) -> list[dict[str, Any]]:
    """Clamp every sampled neuron of a layer in both directions, in one batch.

    Args:
        runner: The model.
        prompt: Token ids whose next token is observed.
        layer: The layer.
        matrix: The decoded matrix, which also says what is clamped.
        neurons: The sampled neurons, two or more.
        tokens: Top token by (neuron, sign).
        size: What is added to the clamped value, times the direction.

    Returns:
        Rows of `neurons/validation` without their texts.
    """
    cases = [(neuron, sign) for neuron in neurons for sign in (1, -1)]
    values = torch.tensor([size * sign for _, sign in cases], dtype=torch.float64)
    clamp = Clamp(
        layer=layer,
        site=SITE_OF[matrix],
        operation="add",
        neurons=torch.tensor([neuron for neuron, _ in cases]),
        values=values,
        mask=positions_mask(len(cases), len(prompt), "last"),
    )
    clean = runner.next_logprobs(list(prompt))[0]
    logprobs = runner.next_logprobs(list(prompt), clamp)
    rows = []
    for row, (neuron, sign) in enumerate(cases):
        token = tokens[neuron, sign]
        # The next sampled neuron's token under this neuron's clamp: what any token does.
        other = neurons[(neurons.index(neuron) + 1) % len(neurons)]
        control = tokens[other, sign]
        after = logprobs[row]
        rows.append(
            {
                "layer": layer,
                "neuron": neuron,
                "matrix": matrix,
                "direction": sign,
                "value": float(values[row]),
                "token_id": token,
                "logprob_change": float(after[token] - clean[token]),
                "rank_change": int((after > after[token]).sum() - (clean > clean[token]).sum()),
                "control_logprob_change": float(after[control] - clean[control]),
            }
        )
    return rows


def layer_sign_tests(validation: pd.DataFrame) -> pd.DataFrame:
    """Exact two-sided sign test per layer and matrix; a case is a neuron and a direction.

    A case counts as raised when its mean change over the prompts is above 0; cases with no change
    at all say nothing and are left out.
    """
    cases = validation.groupby(["layer", "matrix", "neuron", "direction"], sort=True)
    means = cases[["logprob_change", "control_logprob_change"]].mean().reset_index()
    rows = []
    for (layer, matrix), group in means.groupby(["layer", "matrix"], sort=True):
        changed = group[group["logprob_change"] != 0]
        raised, count = int((changed["logprob_change"] > 0).sum()), len(changed)
        low, high = exact_interval(raised, count)
        control = group["control_logprob_change"]
        rows.append(
            {
                "layer": layer,
                "matrix": matrix,
                "neurons": count,
                "raised": raised,
                "share": raised / count if count else None,
                "low": low,
                "high": high,
                "p_value": float(binomtest(raised, count).pvalue) if count else None,
                "control_share": float((control[control != 0] > 0).mean())
                if (control != 0).any()
                else None,
                "mean_change": float(group["logprob_change"].mean()),
            }
        )
    return SIGN_TESTS.frame(rows)
