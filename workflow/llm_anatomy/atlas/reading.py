"""Texts as a model reads them: the tokens behind the numbers that were traced."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from llm_anatomy.atlas.texts import WITH_TOKENS, chosen_texts
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.batching import encode
from llm_anatomy.model.run.tokenizer import read_tokenizer
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import TRACES


def read_tokens(
    tables: Collection, model: str, datasets: Sequence[str], provenance: Path
) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """The tokens of the texts that the atlas shows token by token, by data set and text.

    Args:
        tables: The texts and their traces.
        model: The model.
        datasets: The data sets, in the order shown.
        provenance: The model's `provenance.json`, beside which its tokenizer lies.

    Raises:
        UserError: A text has fewer tokens than were traced: it was traced with another tokenizer.
    """
    tokenizer, _ = read_tokenizer(provenance)
    vocabulary = Vocabulary(provenance.parent / "weights")
    found: dict[str, Mapping[str, Sequence[str]]] = {}
    for dataset in datasets:
        ids = chosen_texts(tables, model, dataset, WITH_TOKENS)
        where = [("text_id", "in", ids)]
        texts = tables.frame(TEXTS, ["text_id", "text"], where, dataset=dataset)
        traced = tables.joined(
            TRACES, ["text_id", "n_tokens"], where, model=model, dataset=dataset
        ).set_index("text_id")["n_tokens"]
        encoded = encode(tokenizer, texts["text"].tolist(), None).ids
        of_texts = {}
        for text_id, tokens in zip(texts["text_id"], encoded, strict=True):
            if len(tokens) < traced[text_id]:
                raise UserError(
                    f"the text '{text_id}' of {dataset} has {len(tokens)} tokens, and "
                    f"{traced[text_id]} were traced: the model's tokenizer has changed; remake the "
                    "activations by running the same command again"
                )
            of_texts[text_id] = [vocabulary.text(t) or "" for t in tokens[: traced[text_id]]]
        found[dataset] = of_texts
    return found
