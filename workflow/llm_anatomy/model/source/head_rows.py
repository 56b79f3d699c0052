"""Which rows of an LM head have a token: heads are padded, and vocabularies have gaps."""

from collections.abc import Mapping
from dataclasses import replace

from llm_anatomy.model.parts.architecture import Decoder


def with_tokens(decoder: Decoder, vocabulary: Mapping[str, int]) -> Decoder:
    """A decoder that knows which rows of its head have a token.

    Args:
        decoder: The decoder.
        vocabulary: The tokenizer's tokens and their ids.
    """
    # Ids beyond the head are refused at preparation.
    width = decoder.head.out_features
    known = {token for token in vocabulary.values() if token < width}
    rows = max(known) + 1
    without = tuple(sorted(set(range(rows)) - known))
    return replace(decoder, token_rows=rows, tokenless=without)
