"""What results are called, wherever they lie.

Rules name results `results/…`, and so do tables, figures and the manifest. With object storage a
job reads and writes copies in a folder of Snakemake's: names keep the results' bytes the same.
"""

import os
from pathlib import Path

RESULTS = "results"
# Set by the workflow where results lie in object storage: the folder of the copies, and the
# address that Snakemake's own records give, one a line.
PLACES_VARIABLE = "LLM_ANATOMY_RESULTS"


def result_name(path: Path | str) -> str:
    """The name of a result; of any other file its path, as it is.

    Args:
        path: Where the result lies for this job, or its address in object storage.
    """
    text = str(path)
    for place in _places():
        if text.startswith(f"{place}/"):
            return f"{RESULTS}{text.removeprefix(place)}"
    return text


def result_path(name: str) -> Path:
    """Where a result lies for this job; of any other file its path, as it is."""
    folder, *_ = _places()
    inside = name.removeprefix(f"{RESULTS}/")
    return Path(name) if inside == name else Path(folder, inside)


def _places() -> list[str]:
    return os.environ.get(PLACES_VARIABLE, RESULTS).splitlines()
