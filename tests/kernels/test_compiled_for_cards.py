"""Kernels compile for cards: the interpreter accepts what a card's compiler does not."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# No card is needed to compile, but kernels that are not interpreted: hence a process of its own.
COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from llm_anatomy.geometry.fused_statistics import _take_token
from llm_anatomy.neurons.fused_scan import _take_row

HEAD = {"vocab": 128256, "columns": 128256, "block": 64, "at_once": 16}
MLP = {"units": 14336, "at_once": 2048}
for kernel, sizes, others in (
    (_take_row, HEAD, {"rows": "i32"}),
    (_take_token, MLP, {"stride": "i32", "preactivations": "*bf16"}),
):
    names = kernel.arg_names
    types = {name: "constexpr" if name in sizes else "*fp32" for name in names} | others
    constants = {(names.index(name),): size for name, size in sizes.items()}
    source = ASTSource(kernel, types, constants)
    for capability in (80, 90):
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        spilled = ".local" in made.asm["ptx"]
        print(kernel.__name__, capability, len(made.asm["cubin"]) > 0, spilled)
"""


def test_kernels_compile_for_cards_and_spill_nothing(triton) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    for kernel in ("_take_row", "_take_token"):
        for capability in (80, 90):
            assert f"{kernel} {capability} True False" in done.stdout
