"""The atlas's first page: which models ran, what each layer does, and the papers' claims."""

from collections.abc import Iterator, Sequence

from llm_anatomy.atlas.chunks import Chunk, columns
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.neurons import AGREEMENT, CHANGED


def overview_chunks(
    tables: Collection, studies: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> Iterator[Chunk]:
    """What concerns all models: claims of every study, and neurons of compared models.

    Args:
        tables: The claims, and the comparisons of models.
        studies: The studies that ran, in reading order.
        pairs: Models that were compared neuron by neuron.

    Yields:
        `claims` and `pairs`.

    Raises:
        UserError: A table is missing or damaged.
    """
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
