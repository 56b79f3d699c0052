"""Random numbers that depend on the seed and on what they are drawn for, and on nothing that ran
before: every draw of the package is made here, from a stream of its own.

numpy's and torch's global generators stay untouched.
"""

import hashlib
from enum import StrEnum
from typing import TypeAlias

import numpy as np

# What tells draws of one purpose apart, such as layer and example.
Key: TypeAlias = str | int | float
# scikit-learn takes seeds below it.
LIBRARY_SEEDS = 1 << 32


class Purpose(StrEnum):
    """What random numbers are drawn for; draws of two purposes have nothing in common.

    A member's value is part of every key: another value gives other draws.
    """

    # Data.
    DATA_SAMPLE = "rows of a data set"
    PASSAGES = "passages put into texts"
    PASSAGE_PLACES = "places of passages in texts"
    WORKED_SUMS = "worked sums of the built-in domains"
    # Models.
    NORM_PROBE = "probe of a normalisation module"
    # Geometry.
    INSERT_PLACES = "places of passages in documents"
    SHUFFLED_TOKENS = "shuffled tokens of control prompts"
    RANDOM_TOKENS = "random tokens of control prompts"
    SCORER_FOLDS = "folds of a scorer of answers"
    GEOMETRY_CLAIMS = "bootstrap of geometry's claims"
    # Toxicity.
    FOLDS = "test folds of texts"
    NEGATIVES_FOLDS = "test folds of a label with other negatives"
    INNER_FOLDS = "inner folds of texts"
    FOREST = "random forests"
    BOOSTING = "boosted trees"
    METRICS = "bootstrap of metrics"
    KEPT_LABELS = "labels kept for self-training"
    MAPPED_TEXTS = "texts on a map"
    TSNE = "t-SNE"
    TIMED_TEXTS = "texts timed"
    # Neurons.
    REFERENCE_WORDS = "reference words"
    REFERENCE_FRAGMENTS = "reference fragments of words"
    CONTROL_NEURONS = "control neurons of a clamp"
    SAMPLED_ANSWERS = "sampled answers"
    SAMPLED_NEURONS = "sampled neurons of a layer"
    ACTIVATION_TEXTS = "texts that neurons fire on"
    TUNING_TEXTS = "order of a fine-tune's texts"
    CONTEXT_TEXTS = "texts whose contexts are kept"
    SHUFFLED_WORDS = "words exchanged among neurons"
    CONTEXT_OVERLAP = "bootstrap of words against contexts"
    NEIGHBOUR_TEXTS = "texts over which activations are correlated"
    RANDOM_DIRECTIONS = "random directions in place of a concept's"
    PERMUTED_LABELS = "labels permuted among texts"
    DIRECTION_HALVES = "texts that make a direction and texts that test it"
    # Patching.
    PATCHING_SAMPLE = "examples of a task"
    ARITHMETIC = "order of generated questions"
    DONORS = "donors of switches"
    NOISE = "noise in place of states"
    SHUFFLE = "shuffles of states"
    ANGLE = "directions that states turn to"
    RANDOM_SPAN = "random spans as answers"
    RANDOM_WORDS = "random words as answers"
    PATCHING_CURVES = "bootstrap of patching's curves"
    # Facts.
    FACTS_SAMPLE = "facts of a relation"
    RANDOM_FFN_NEURONS = "random FFN neurons"
    RANDOM_ATTENTION_NEURONS = "random attention neurons"
    RANDOM_HEADS = "random heads"
    RANDOM_LAYERS = "random layers"
    FACTS_CLAIMS = "bootstrap of facts' claims"
    # Attribution of units.
    PAIRS = "counterfactuals of facts"
    HALVES = "facts that rank and facts that judge"
    RANDOM_RANKING = "random ranking of units"
    EXACT_SAMPLE = "units whose effect is computed exactly"
    FAITHFULNESS = "bootstrap of faithfulness"
    TRACING_NOISE = "noise on subjects"
    TRACING_EFFECTS = "bootstrap of indirect effects"


def keyed_generator(
    seed: int, purpose: Purpose, *key: Key, position: int = 0
) -> np.random.Generator:
    """A generator for one seed, purpose, key and position.

    Draws for one position do not depend on how many positions there are, on batch layout or on
    other draws.

    Args:
        seed: The configuration's seed.
        purpose: What is drawn.
        key: What tells draws of this purpose apart, such as layer and example.
        position: Absolute token position, a counter beside the key.
    """
    words = np.frombuffer(_digest(seed, purpose, *key)[:16], dtype="<u8").astype(np.uint64)
    return np.random.Generator(np.random.Philox(key=words, counter=[0, 0, position, 0]))


def keyed_rank(seed: int, purpose: Purpose, *key: Key) -> int:
    """A random number below 2^128 for one key: the lowest ranks are a sample, however many items
    there are and in whatever order they come.
    """
    return int.from_bytes(_digest(seed, purpose, *key)[:16], "big")


def library_seed(seed: int, purpose: Purpose, *key: Key) -> int:
    """A seed for a library that makes its own generator, such as scikit-learn's `random_state`."""
    return keyed_rank(seed, purpose, *key) % LIBRARY_SEEDS


def _digest(seed: int, purpose: Purpose, *key: Key) -> bytes:
    text = "\x1f".join(f"{_kind(part)}:{part}" for part in (seed, str(purpose), *key))
    return hashlib.sha256(text.encode()).digest()


def _kind(part: Key) -> str:
    # numpy's numbers give the draws of Python's.
    if isinstance(part, str):
        return "str"
    return "float" if isinstance(part, float) else "int"
