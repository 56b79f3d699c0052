"""A process that has imported what tests import, and runs them in forked children.

The environment of the tests runs it (`python -P warm.py`, in a copy of the project), one per copy.
Each line of its input is a request, each line of its output the answer. It imports nothing of the
package nor of its tests: a child finds them as they stand on the disk when it is forked.
"""

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

# What nearly every test file imports, with the parts that libraries load late.
IMPORTED = (
    "accelerate", "beartype", "gguf", "hypothesis.extra.numpy", "jaxtyping", "jinja2", "joblib",
    "jsonschema", "matplotlib.pyplot", "numba", "numpy", "pandas", "pyarrow.compute",
    "pyarrow.parquet", "pydantic", "pytest", "rich.live", "rouge_score.rouge_scorer",
    "safetensors.torch", "scipy.linalg", "scipy.spatial", "scipy.stats", "seaborn",
    "sklearn.decomposition", "sklearn.ensemble", "sklearn.feature_extraction.text",
    "sklearn.linear_model", "sklearn.manifold", "sklearn.model_selection", "sklearn.neighbors",
    "sklearn.neural_network", "sklearn.semi_supervised", "tokenizers", "torch", "transformers",
    "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama", "typer", "yaml",
)  # fmt: skip
# Of addresses, for each child: a fault may ask for any number of bytes.
MEMORY = 12 << 30


def main() -> None:
    """Answer requests until the input ends: `arguments` of pytest, and the limits in seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(run(**request)) + "\n")
        answers.flush()


def run(arguments: list[str], output: str, still: float, total: float) -> dict[str, Any]:
    """Run pytest in a child.

    Args:
        arguments: Of pytest.
        output: The file that keeps what the child says.
        still: Seconds without any test or file of tests coming to its end, after which the child
            is ended.
        total: Seconds after which it is ended in any case.

    Returns:
        The child's exit `status`, negative where a signal ended it and none where a limit did, and
        its `seconds`.
    """
    ended, end = os.pipe()
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(ended)
        _test(arguments, output, end)
    os.close(end)
    in_time = _watch(ended, begin, still, total)
    over, code = os.waitpid(child, 0 if in_time else os.WNOHANG)
    status = os.waitstatus_to_exitcode(code) if over else None
    # What tests started may outlive them, too.
    _kill_group(child)
    if not over:
        os.waitpid(child, 0)
    os.close(ended)
    return {"status": status, "seconds": round(time.monotonic() - begin, 2)}


def _watch(ended: int, begin: float, still: float, total: float) -> bool:
    """Whether the pipe is closed before a limit; each byte in it is a sign of life."""
    while time.monotonic() - begin < total:
        if not select.select([ended], [], [], still)[0]:
            return False
        if not os.read(ended, 4096):
            return True
    return False


def _kill_group(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


class _Life:
    """Says to the parent that a test, or the reading of a file of tests, has come to its end."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def pytest_runtest_logfinish(self) -> None:
        os.write(self.pipe, b".")

    def pytest_collectreport(self) -> None:
        os.write(self.pipe, b".")


def _test(arguments: list[str], output: str, pipe: int) -> None:
    """The child: never returns."""
    status = 3
    try:
        os.setsid()
        log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for stream, file in enumerate((nothing, log, log)):
            os.dup2(file, stream)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        pytest = importlib.import_module("pytest")
        status = int(pytest.main(arguments, plugins=[_Life(pipe)]))
        sys.stdout.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
