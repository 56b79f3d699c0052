"""The atlas's first page: which models ran, what each layer does, and the papers' claims."""

from collections.abc import Iterator, Sequence

from llm_anatomy.atlas.chunks import Chunk, columns
from llm_anatomy.tables.anatomy import ANATOMY
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.neurons import AGREEMENT, CHANGED


def overview_chunks(
    tables: Collection,
    models: Sequence[str],
    studies: Sequence[str],
    pairs: Sequence[tuple[str, str]],
) -> Iterator[Chunk]:
    """What concerns all models: their anatomies, claims of every study, and compared neurons.

    Args:
        tables: The anatomies, the claims, and the comparisons of models.
        models: The models, in the order shown.
        studies: The studies that ran, in reading order.
        pairs: Models that were compared neuron by neuron.

    Yields:
        `anatomy`, `claims` and `pairs`.

    Raises:
        UserError: A table is missing or damaged.
    """
    yield "anatomy", {model: columns(tables.frame(ANATOMY, model=model)) for model in models}
    claims = tables.joined(CLAIMS, study=list(studies))
    yield "claims", columns(claims.astype({"holds": object}))
    compared = []
    for first, second in pairs:
        owner = {"model_a": first, "model_b": second}
        compared.append(
            {
                "models": [first, second],
                "agreement": columns(tables.frame(AGREEMENT, **owner)),
                "changed": columns(tables.frame(CHANGED, **owner)),
            }
        )
    yield "pairs", compared
