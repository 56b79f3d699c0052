"""What stands for a concept in a model: the tokens of its words, its neuron, and the controls."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from llm_anatomy.config.neurons import Concept, Neuron
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.statistics.random import Purpose, keyed_generator


@dataclass(frozen=True)
class Spelling:
    """One spelling of a word, and its token if it is a single one."""

    text: str
    token_id: int | None


@dataclass(frozen=True)
class ConceptIndex:
    """The concepts of a study in one model.

    Attributes:
        concepts: The configured concepts.
        vocabulary: The model's tokens.
        neurons: The table `neurons/concepts`.
    """

    concepts: Sequence[Concept]
    vocabulary: Vocabulary
    neurons: pd.DataFrame

    def concept(self, name: str) -> Concept:
        """The concept of this name; the configuration has checked that there is one."""
        return next(concept for concept in self.concepts if concept.name == name)

    def tokens(self, name: str) -> list[int]:
        """See `concept_tokens`."""
        return concept_tokens(self.vocabulary, self.concept(name))

    def neuron(self, name: str, configured: Neuron | None) -> tuple[int, int]:
        """Layer and neuron: the configured one, or the concept's most specific one."""
        if configured is not None:
            return configured.layer, configured.neuron
        table = self.neurons
        best = table[(table["concept"] == name) & (table["rank"] == 1)].iloc[0]
        return int(best["layer"]), int(best["neuron"])


def spellings(vocabulary: Vocabulary, concept: Concept) -> list[Spelling]:
    """A concept's words with and without a leading space, in lower, title and upper case.

    The first spelling that is a token is the concept's main token.

    Raises:
        UserError: None of them is a single token.
    """
    texts: dict[str, None] = {}
    for word in (word.strip() for word in concept.words if word.strip()):
        for cased in (word, word.lower(), word[0].upper() + word[1:], word.upper()):
            texts[f" {cased}"] = texts[cased] = None
    variants = [Spelling(text, vocabulary.token(text)) for text in texts]
    if all(spelling.token_id is None for spelling in variants):
        raise UserError(
            f"neurons.search.concepts: no spelling of '{concept.name}' "
            f"({', '.join(repr(text) for text in texts)}) is one token of this model's "
            "vocabulary; choose a more frequent word"
        )
    return variants


def concept_tokens(vocabulary: Vocabulary, concept: Concept) -> list[int]:
    """Distinct tokens of a concept, the main token first; raises as `spellings`."""
    tokens = [s.token_id for s in spellings(vocabulary, concept) if s.token_id is not None]
    return list(dict.fromkeys(tokens))


def control_neurons(layer: int, neuron: int, n_neurons: int, count: int, seed: int) -> list[int]:
    """Seeded random neurons of the same layer, all different from the concept's.

    Raises:
        UserError: The layer has too few neurons.
    """
    if count >= n_neurons:
        raise UserError(
            f"neurons.favourite.controls is {count}, but layer {layer} has only {n_neurons} neurons"
        )
    generator = keyed_generator(seed, Purpose.CONTROL_NEURONS, layer, neuron)
    others = generator.permutation(n_neurons)
    return [int(other) for other in others if other != neuron][:count]
