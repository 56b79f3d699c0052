"""One fault in a module of a copy of the project, for as long as a block runs."""

import difflib
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_item import MutationSpec

# Of the files with a fault. Compiled modules are known by the second in which their source was
# written: each fault has a second of its own, far from those of the sources.
_SECONDS = itertools.count(10**9)


@contextmanager
def planted(tree: Path, mutation: MutationSpec) -> Iterator[str]:
    """Plant a mutant; gives the lines that it takes out and puts in.

    Args:
        tree: A copy of the project, in which nothing else runs.
        mutation: The mutant.

    Raises:
        ValueError: If there is no such place in the module.
    """
    path = tree / mutation.module_path
    source, times = path.read_text(), path.stat()
    faulty = mutate_code(source, get_operator(mutation.operator_name)(), mutation.occurrence)
    if faulty is None:
        raise ValueError(f"{mutation} is nowhere in {path}")
    second = next(_SECONDS)
    path.write_text(faulty)
    os.utime(path, (second, second))
    try:
        yield changed(source, faulty)
    finally:
        path.write_text(source)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def changed(source: str, faulty: str) -> str:
    """The lines that differ, as code in a table's cell."""
    lines = list(difflib.ndiff(source.splitlines(), faulty.splitlines()))
    old, new = (
        " ".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    return f"`{old}` → `{new}`"
