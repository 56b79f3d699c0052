"""A model in a notebook, without a workflow: the studies' own functions, frames out, no files.

Every method calls what the stage of the same study calls, so that its numbers are the table's.
"""

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.config.facts import Attribution, FactFilter, FactRelation
from llm_anatomy.config.geometry import Extraction
from llm_anatomy.config.neurons import Concept, ConceptSearch, Matrix, VocabularyMap
from llm_anatomy.config.patching import Freeze, Manipulation, Noise, RelationTask, Skip, Switch
from llm_anatomy.config.ranges import check_layer
from llm_anatomy.data.columns import Row
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.relations import examples, relation_table
from llm_anatomy.errors import UserError
from llm_anatomy.facts.experiment import attribute_facts
from llm_anatomy.geometry.activations import read_traces
from llm_anatomy.geometry.gathering import extract_activations
from llm_anatomy.geometry.spline import feature_frame
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.run.tokenizer import read_tokenizer
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.mapping import Mapper, vocabulary_columns
from llm_anatomy.neurons.search import find_concepts
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.notebook.source import RECORD, prepared
from llm_anatomy.patching.examples import build_task
from llm_anatomy.patching.experiment import sweep_task
from llm_anatomy.tables import facts as fact_tables
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.geometry import TRACES

Unit = Literal["layers", "heads", "positions", "head_positions", "neurons", "attention_neurons"]
_IMPORTANCE = {
    "layers": fact_tables.LAYER_IMPORTANCE,
    "heads": fact_tables.HEAD_IMPORTANCE,
    "positions": fact_tables.POSITION_IMPORTANCE,
    "head_positions": fact_tables.HEAD_POSITION_IMPORTANCE,
    "neurons": fact_tables.NEURON_IMPORTANCE,
    "attention_neurons": fact_tables.ATTENTION_NEURON_IMPORTANCE,
}
# One prompt, and whatever the model answers to it.
_ANY_FACT = FactFilter(top=None, above_others=False, ambiguous="keep")


def load(
    source: str | Path | None = None,
    revision: str | None = None,
    *,
    device: str = "cpu",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    threads: int = 1,
    batch_tokens: int | None = None,
) -> "Model":
    """Load a model: checked, its parts found and proven, as before every study.

    Args:
        source: A folder, a GGUF file, a hub id, a model that a run prepared
            (`results/models/NAME`), or None for SmolLM2-135M-Instruct, which comes from PyPI.
        revision: Commit, tag or branch of a hub model; a hub model needs one.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: How numbers are computed.
        threads: CPU threads.
        batch_tokens: Most padded tokens in one forward pass; 2048 when left out, on a card by its
            free memory.

    Raises:
        UserError: The model is missing, damaged, no decoder, too large or out of reach.
    """
    precision = Precision(dtype=dtype)
    compute = Compute(device=device, threads=threads, batch_tokens=batch_tokens)
    folder, held = prepared(source, revision, precision, compute)
    return Model(folder, load_model(folder / RECORD, precision, compute), held)


class Model:
    """A loaded model; `la.load` makes one.

    Attributes:
        facts: Which layers, heads and neurons add an answer.
        neurons: The words that neurons stand for.
        patching: Until which layer the model looks at its prompt.
        geometry: Spline features of texts.
    """

    def __init__(
        self,
        folder: Path,
        loaded: LoadedModel,
        held: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self.folder, self.loaded = folder, loaded
        # Links to the weights, which the neurons are read from.
        self._held = held
        self.facts = Facts(self)
        self.neurons = Neurons(self)
        self.patching = Patching(self)
        self.geometry = Geometry(self)

    def __repr__(self) -> str:
        known = self.provenance
        return f"Model({known['model']!r}, {self.loaded.decoder.n_layers} layers)"

    @property
    def provenance(self) -> dict[str, Any]:
        """What its numbers depend on: source, revision, weights, precision, versions."""
        return self.loaded.provenance


class Facts:
    """Which units add the right answer (Yu and Ananiadou 2024, Eq. 13)."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def importance(
        self,
        prompt: str,
        answer: str,
        unit: Unit = "layers",
        settings: Attribution = Attribution(),  # noqa: B008 - settings are never changed
    ) -> pd.DataFrame:
        """What every unit of one kind adds to the log-probability of an answer, in nats.

        Args:
            prompt: The prompt, without a space at its end.
            answer: The answer; of several tokens its first counts.
            unit: Layers, heads, positions, pairs of head and position, or neurons. Of neurons and
                pairs the most important ones are kept, as many as `settings` says.
            settings: How importance is computed.

        Returns:
            The table of the facts study for this unit, such as `facts/layer_importance`.

        Raises:
            UserError: The answer is no token of this model behind this prompt.
        """
        row = {"subject": "", "answer": answer, "prompt": prompt}
        rows = _relation([row], prompt="prompt").to_pandas()
        relation = FactRelation(relation="prompt")
        model = self._model
        result = attribute_facts(
            model.loaded,
            rows,
            relation,
            _ANY_FACT,
            settings,
            seed=0,
            batch_tokens=model.loaded.batch_tokens,
        )
        if not len(result.frames[fact_tables.FACTS]):
            outcome = ", ".join(result.outcomes)
            raise UserError(f"the answer {answer!r} behind {prompt!r} cannot be studied: {outcome}")
        return result.frames[_IMPORTANCE[unit]]


class Neurons:
    """Neurons as words (Davies 2025): their weights decoded by the LM head."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def tokens(
        self,
        layer: int,
        neuron: int,
        settings: VocabularyMap = VocabularyMap(),  # noqa: B008
    ) -> pd.DataFrame:
        """The tokens at both ends of one neuron's vectors: up, gate and down.

        Args:
            layer: Layer, from 0.
            neuron: Neuron, from 0.
            settings: Which matrices, how many tokens, and how vectors are normalised.

        Returns:
            Rows of `neurons/vocabulary`: sign 1 is the end that the vector points to.

        Raises:
            UserError: There is no such layer or neuron.
        """
        weights, vocabulary = self._weights, self._vocabulary
        check_layer("layer", layer, weights.n_layers)
        mapper = Mapper(weights, settings, str(self._model.loaded.decoder.device))
        frames = []
        for matrix in weights.present(settings.matrices):
            count = len(weights.vectors(layer, matrix))
            if not 0 <= neuron < count:
                raise UserError(f"neuron is {neuron}, and layer {layer} has {count} neurons")
            decoded = mapper.decode(layer, matrix, [neuron])
            columns = vocabulary_columns(decoded, settings.top_k, layer, matrix, vocabulary)
            frames.append(pd.DataFrame(_plain(columns)).assign(neuron=neuron))
        return pd.concat(frames, ignore_index=True)

    def find(
        self,
        *words: str,
        neurons: int = 20,
        matrices: Sequence[Matrix] | None = None,
        seed: int = 0,
        **search: Any,
    ) -> pd.DataFrame:
        """The neurons that stand for a word and for little else, most specific first.

        Args:
            words: Words for one concept, such as `"dog", "dogs"`; spellings with and without a
                space and in capitals are added.
            neurons: How many neurons to keep.
            matrices: Which matrices to search; all of the vocabulary map when left out.
            seed: Seed of the words that a neuron must not stand for as well.
            search: Further keys of `neurons.search`, such as `token_rank`.

        Returns:
            Rows of `neurons/concepts`.

        Raises:
            UserError: No word is a single token of this model.
        """
        if not words:
            raise UserError("find needs a word, such as find('dog', 'dogs')")
        name = "-".join(word for word in words if word.isascii() and word.isalnum()) or "concept"
        concept = ConceptSearch(
            concepts=[Concept(name=name, words=list(words))], neurons=neurons, **search
        )
        decoding = VocabularyMap() if matrices is None else VocabularyMap(matrices=list(matrices))
        device = str(self._model.loaded.decoder.device)
        return find_concepts(
            self._weights, self._vocabulary, concept, decoding, seed, device
        ).neurons

    @cached_property
    def _weights(self) -> ModelWeights:
        return ModelWeights(self._model.folder)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self._weights.folder)


class Patching:
    """Until which layer the model still looks at its prompt (Ben-Artzy and Schwartz 2024)."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def sweep(
        self,
        prompt: str,
        answers: Mapping[str, str],
        *,
        switch: bool = True,
        freeze: bool = False,
        skip: bool = False,
        noise: int = 0,
        layers: Sequence[int] | None = None,
        max_new_tokens: int = 1,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Manipulate what later tokens see of the prompt at layer k, for every k.

        Args:
            prompt: Prompt with `{subject}`, such as `The capital of {subject} is`.
            answers: Answer of every subject; a switch takes states of one from another, so that it
                needs two.
            switch: Replace the subject's states by those of another subject.
            freeze: Stop updating the previous tokens.
            skip: Leave attention out.
            noise: Replace their states by noise, so many times; 0 leaves it out.
            layers: Layers k; all when left out.
            max_new_tokens: Tokens of an answer.
            seed: Seed of the noise and of which subject gives its states to which.

        Returns:
            Rows of `patching/sweeps`, the clean run first.

        Raises:
            UserError: No answer is one that the model can give, or nothing is to be manipulated.
        """
        picked: list[Manipulation] = [Switch(name="switch")] if switch else []
        picked += [Freeze(name="freeze")] if freeze else []
        picked += [Skip(name="skip")] if skip else []
        picked += [Noise(name="noise", seeds=noise)] if noise else []
        task = RelationTask(
            name="notebook", relation="notebook", prompt=prompt, max_new_tokens=max_new_tokens
        )
        rows = [{"subject": subject, "answer": answer} for subject, answer in answers.items()]
        model = self._model
        tokenizer, context = read_tokenizer(model.folder / RECORD)
        built = build_task(
            task,
            _relation(rows).to_pylist(),
            tokenizer,
            context=context,
            manipulations=picked,
            seed=seed,
        )
        return sweep_task(
            model.loaded,
            task,
            built.examples,
            built.pairs,
            picked,
            layers=layers,
            seed=seed,
            batch_tokens=model.loaded.batch_tokens,
        )


class Geometry:
    """Where texts lie among the regions of every layer (Balestriero et al. 2024)."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def features(
        self, texts: Sequence[str], *, max_length: int = 1024, include_bos: bool = True
    ) -> pd.DataFrame:
        """The seven spline features of every layer.

        Args:
            texts: The texts.
            max_length: Tokens of a text that are read; the rest is cut and flagged.
            include_bos: Whether a beginning-of-sequence token takes part.

        Returns:
            Rows of `geometry/spline_features`, one for each text, in order; `text_id` counts from
            0.

        Raises:
            UserError: A text has no token.
        """
        model = self._model
        frame = pd.DataFrame({"text_id": [str(k) for k in range(len(texts))], "text": list(texts)})
        settings = Extraction(max_length=max_length, state_layers=[])
        read = extract_activations(
            model.loaded, frame, settings, model.loaded.batch_tokens, "texts"
        )
        with tempfile.TemporaryDirectory() as folder:
            traces = Path(folder) / "traces.parquet"
            write_table(traces, TRACES, read.traces, {})
            return feature_frame(read_traces([traces]), include_bos=include_bos)


def _relation(rows: Sequence[Mapping[str, str]], prompt: str | None = None) -> pa.Table:
    """Rows as the table of a relation, by the function that reads a user's file."""
    dataset = Dataset(name="notebook", kind="relation", path="notebook.jsonl", prompt=prompt)
    read = (Row(k, f"row {k}", dict(row)) for k, row in enumerate(rows, 1))
    intake = Intake()
    items = list(examples(dataset, read, "the call", intake))
    if len(items) < len(rows):
        raise UserError(f"of {len(rows)} rows some cannot be used: {', '.join(intake.aside)}")
    return relation_table(dataset, items, "notebook")


def _plain(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: values.to_pylist() if hasattr(values, "to_pylist") else values
        for name, values in columns.items()
    }
