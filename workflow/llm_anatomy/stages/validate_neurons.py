"""Test decoded tokens on a sample of neurons: are they what a neuron says, and what it fires on?"""

from functools import partial
from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import Activation, Validation
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.activation import compare_activations, sample_texts
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.sample import DecodedTokens, sampled_tokens
from llm_anatomy.neurons.validation import layer_sign_tests, validate_neurons
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_pieces, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.neurons import ACTIVATION, SIGN_TESTS, VALIDATION, VOCABULARY


class ValidateStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    validation: Validation
    activation: Activation


def run(
    settings: ValidateStage,
    *,
    model: Path,
    vocabulary: Path,
    texts: tuple[Path, ...],
    validation: Path,
    sign_tests: Path,
    activation: tuple[Path, ...],
) -> None:
    """Read decoded tokens, and texts if any; write how clamps and texts bear them out."""
    to_clamp, to_watch = _sampled(vocabulary, settings)
    words = Vocabulary(model.parent / "weights")
    loaded = load_model(model, settings.precision, compute_settings())
    runner, tested = PromptRunner(loaded.decoder), settings.validation
    rows = validate_neurons(runner, loaded.tokenizer, words, to_clamp, tested)
    provenance = loaded.provenance | {"seed": settings.seed, "strength": tested.strength}
    write_table(validation, VALIDATION, rows, provenance)
    write_table(sign_tests, SIGN_TESTS, layer_sign_tests(rows), provenance)
    for source, target in zip(texts, activation, strict=True):
        _write_activation(settings, loaded, words, to_watch, source, target)


def _sampled(vocabulary: Path, settings: ValidateStage) -> tuple[DecodedTokens, DecodedTokens]:
    """Decoded tokens of the neurons to clamp and of those to watch; the map is not kept."""
    read = partial(read_pieces, vocabulary, VOCABULARY)
    few, many = settings.validation.neurons_per_layer, settings.activation.neurons_per_layer
    return sampled_tokens(read, few, settings.seed), sampled_tokens(read, many, settings.seed)


def _write_activation(
    settings: ValidateStage,
    loaded: LoadedModel,
    words: Vocabulary,
    decoded: DecodedTokens,
    source: Path,
    target: Path,
) -> None:
    watched, seed = settings.activation, settings.seed
    texts = read_table(source, TEXTS)["text"].tolist()
    ids, counts = sample_texts(loaded.tokenizer, texts, watched, seed, str(source))
    budget = loaded.batch_tokens
    frame = compare_activations(loaded.decoder, words, decoded, ids, watched.top_positions, budget)
    write_table(target, ACTIVATION, frame, loaded.provenance | {"seed": seed} | counts)


if __name__ == "__main__":
    run_stage(run)
