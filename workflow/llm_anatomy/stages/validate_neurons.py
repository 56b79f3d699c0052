"""Clamp a sample of neurons in every layer and test whether their decoded tokens rise."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import Validation
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.tokens import Vocabulary
from llm_anatomy.neurons.validation import (
    SITE_OF,
    layer_sign_tests,
    sample_neurons,
    site_sizes,
    validate_layer,
)
from llm_anatomy.progress import Progress
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_arrow, write_table
from llm_anatomy.tables.neurons import SIGN_TESTS, VALIDATION, VOCABULARY


class ValidateStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    validation: Validation


def run(
    settings: ValidateStage, *, model: Path, vocabulary: Path, validation: Path, sign_tests: Path
) -> None:
    """Read the decoded tokens; write what clamps do to them, and the sign test of every layer."""
    asked = settings.validation
    tops = _top_tokens(vocabulary)
    texts = Vocabulary(model.parent / "weights")
    loaded = load_model(model, settings.precision, compute_settings())
    decoder = loaded.decoder
    prompts = {prompt: loaded.tokenizer(prompt)["input_ids"] for prompt in asked.prompts}
    sizes = site_sizes(decoder, list(prompts.values()))
    runner = PromptRunner(decoder)
    matrices = [m for m in SITE_OF if any(key[1] == m for key in tops)]
    rows: list[dict[str, Any]] = []
    with Progress(decoder.n_layers * len(matrices), "matrices", "validate_neurons") as progress:
        for layer in range(decoder.n_layers):
            count = decoder.blocks[layer].n_neurons
            if asked.neurons_per_layer > count:
                raise UserError(
                    f"neurons.validation.neurons_per_layer is {asked.neurons_per_layer}, but layer "
                    f"{layer} has only {count} neurons"
                )
            neurons = sample_neurons(count, asked.neurons_per_layer, settings.seed, layer)
            for matrix in matrices:
                tokens = {
                    (neuron, sign): tops[layer, matrix, neuron, sign]
                    for neuron in neurons
                    for sign in (1, -1)
                }
                size = asked.strength * sizes[layer, SITE_OF[matrix]]
                for prompt, ids in prompts.items():
                    found = validate_layer(runner, ids, layer, matrix, neurons, tokens, size)
                    for row in found:
                        rows.append(row | {"prompt": prompt, "token": texts.text(row["token_id"])})
                progress.advance()
    frame = pd.DataFrame(rows)[[column.name for column in VALIDATION.columns]]
    provenance = loaded.provenance | {"seed": settings.seed, "strength": asked.strength}
    write_table(validation, VALIDATION, frame, provenance)
    write_table(sign_tests, SIGN_TESTS, layer_sign_tests(frame), provenance)


def _top_tokens(vocabulary: Path) -> dict[tuple[int, str, int, int], int]:
    """Top token by layer, matrix, neuron and sign."""
    table = read_arrow(vocabulary, VOCABULARY)
    top = table.filter(pc.equal(table["rank"], 1))
    top = top.select(["layer", "matrix", "neuron", "sign", "token_id"]).to_pandas()
    keys = zip(top["layer"], top["matrix"], top["neuron"], top["sign"], strict=True)
    return dict(zip(keys, top["token_id"].tolist(), strict=True))


if __name__ == "__main__":
    run_stage(run)
