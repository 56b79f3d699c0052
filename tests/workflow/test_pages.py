"""Every command and every line of Python on the pages that teach is run, or says why not.

A page runs in a copy of a finished run, on its tiny model and data in place of the default ones.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from llm_anatomy.config.load import load_configuration

from tests.workflow.pages import LANGUAGES, PAGES, blocks_of

SECONDS = 300
# What a run of the default configuration leaves, and what the tiny one leaves in its place.
STAND_INS = {
    "smollm2-135m-instruct/harmful_responses": "tiny/remarks",
    "smollm2-135m-instruct": "tiny",
    "la.load()": 'la.load("results/models/tiny")',
}
RUNS = re.compile(r"^(?:llm-anatomy run|snakemake)\b.*$", re.MULTILINE)
OPTIONAL = re.compile(r"^import (polars|duckdb)$", re.MULTILINE)
ALL = [block for page in PAGES for block in blocks_of(page)]


def named(page):
    return page.stem


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_is_run_or_says_why_not(page):
    found = blocks_of(page)
    fences = len(re.findall(r"^ *```\w*$", page.read_text(), re.MULTILINE))
    assert fences == 2 * len(found), "a fence that is not closed, or a mark that is misspelled"
    for block in found:
        where = f"{page}: line {block.line}"
        assert block.language in LANGUAGES | {""}, where
        assert not block.mark or len(block.reason) > 10, where
        if block.mark == "dry run":
            assert RUNS.search(block.text), where
    marks = re.findall(r"<!-- (?:not run|dry run|stand-in)\b.*", page.read_text())
    assert len(marks) == sum(bool(block.mark) for block in found), "a mark without a block"


@pytest.mark.parametrize(
    "block", [b for b in ALL if b.language == "yaml" and not b.mark], ids=lambda b: b.page.stem
)
def test_every_configuration_is_one(block):
    load_configuration(yaml.safe_load(block.text), f"{block.page}: line {block.line}")


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished run, and the commands of an installed package."""
    made = shutil.copytree(finished.folder, tmp_path / "run", symlinks=True)
    (made / "my-model").symlink_to("tiny-model")
    programs = tmp_path / "bin"
    programs.mkdir()
    modules = {"llm-anatomy": "-m llm_anatomy.cli.app", "snakemake": "-m snakemake", "python3": ""}
    for name, module in modules.items():
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        script.chmod(0o755)
    return made


def run(command, folder, what):
    path = os.pathsep.join([str(folder.parent / "bin"), os.environ["PATH"]])
    environment = os.environ | {
        "PATH": path,
        "PYTHONPATH": str(folder / "workflow"),
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, f"{what}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize(
    "page",
    [
        p
        for p in PAGES
        if any(b.language in ("bash", "python") and b.mark != "not run" for b in ALL if b.page == p)
    ],
    ids=named,
)
def test_what_a_page_says_works(page, folder):
    """Its commands in order, then its Python as one program, as a notebook would run it."""
    python = []
    for block in blocks_of(page):
        if block.mark == "not run":
            continue
        if block.language == "bash":
            text = block.text
            if block.mark == "dry run":
                text = RUNS.sub(lambda found: _dry(found[0]), text)
            run(["bash", "-euo", "pipefail", "-c", text], folder, f"{page}:\n{text}")
        elif block.language == "python":
            for module in OPTIONAL.findall(block.text):
                pytest.importorskip(module, reason="in envs/docs.lock; `make site` installs it")
            python.append(block.text)
    program = "\n".join(python)
    for name, stand_in in STAND_INS.items():
        program = program.replace(name, stand_in)
    if program:
        (folder / "page.py").write_text(program)
        run(["python3", "page.py"], folder, f"{page}:\n{program}")


def _dry(line: str) -> str:
    command, comment, rest = line.partition("  #")
    return f"{command} --dry-run{comment}{rest}"


def test_the_pages_are_those_that_teach():
    names = {Path(page).stem for page in PAGES}
    assert {"README", "CONTRIBUTING", "tutorial", "notebook", "own_data", "facts"} <= names
    assert sum(block.mark != "not run" for block in ALL) > sum(b.mark == "not run" for b in ALL)
