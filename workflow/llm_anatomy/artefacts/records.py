"""Snakemake's records of finished outputs: which rule made each, from what, with which code."""

import json
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from pathlib import Path
from typing import Any

from llm_anatomy.artefacts.results import result_name

# Where Snakemake keeps them, from the folder of the run. This place and the names of the records
# are Snakemake's own affair: tests/unit/test_private_names.py sees whether they still hold.
RECORDS = Path(".snakemake/metadata")
# How a rule's parameter that names a module of the stage begins; the module's hash ends it.
CODE = "code "


def read_records(folder: Path = RECORDS) -> dict[str, dict[str, Any]]:
    """Snakemake's records of finished outputs, by the result's name.

    Snakemake names a record after its output, in URL-safe base64 that is split into folders
    (marked with `@`) where it is too long for a file name.
    """
    records = {}
    for path in folder.rglob("*"):
        if path.is_file():
            *folders, name = path.relative_to(folder).parts
            encoded = "".join(part.removeprefix("@") for part in folders) + name
            try:
                output = urlsafe_b64decode(encoded).decode()
                records[result_name(output)] = json.loads(path.read_text(encoding="utf-8"))
            except (Base64Error, ValueError):
                continue
    return records
