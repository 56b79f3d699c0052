"""Another workflow takes this one in by `module`, as `snakedeploy` writes it."""

import re
import subprocess
import sys

import pytest
import yaml

from tests.workflow.project import ROOT
from tests.workflow.tiny_run import write_tiny_run

# What snakedeploy's template writes, with the place of a release in place of a folder.
SNAKEFILE = """\
from snakemake.utils import min_version

min_version("9.20")


configfile: "config/config.yaml"


module llm_anatomy:
    snakefile:
        "{entry}"
    config:
        config


use rule * from llm_anatomy
"""


@pytest.fixture(scope="module")
def deployed(finished, tmp_path_factory):
    """A folder as `snakedeploy deploy-workflow` leaves it: a Snakefile, and config/ to edit."""
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "workflow").mkdir()
    (folder / "config").mkdir()
    entry = finished.folder / "workflow/Snakefile"
    (folder / "workflow/Snakefile").write_text(SNAKEFILE.format(entry=entry))
    write_tiny_run(folder, "config/config.yaml")
    return folder


def snakemake(finished, folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--nocolor", *arguments],
        cwd=folder,
        env=finished.environment(),
        capture_output=True,
        text=True,
    )


def test_plans_the_whole_run_with_its_own_configuration(finished, deployed):
    done = snakemake(finished, deployed, "--dry-run", "everything")
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout + done.stderr
    for rule in ("prepare_model", "sweep_layers", "report", "write_manifest"):
        assert f": {rule}: " in said
    assert "smollm2" not in said


def test_its_default_target_is_everything(finished, deployed):
    asked, default = (
        snakemake(finished, deployed, "--dry-run", "--quiet", "host", *target)
        for target in (["everything"], [])
    )
    assert default.returncode == 0
    jobs = [
        re.findall(r"^total +(\d+)$", done.stdout, re.MULTILINE)[-1] for done in (asked, default)
    ]
    assert jobs[0] == jobs[1]


def test_makes_a_table_there(finished, deployed):
    done = snakemake(finished, deployed, "results/data/capitals.parquet")
    assert done.returncode == 0, done.stderr[-3000:]
    ours = finished.folder / "results/data/capitals.parquet"
    assert (deployed / "results/data/capitals.parquet").read_bytes() == ours.read_bytes()


def test_what_the_catalogue_is_told_is_true():
    told = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    software = told["software-stack-deployment"]
    assert (ROOT / "workflow/Snakefile").is_file()
    assert (ROOT / "config/README.md").is_file()
    assert told["mandatory-flags"]["flags"] == ""
    # Every rule names a conda environment, and none a container image.
    assert software["conda"]
    rules = "".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
    assert software["apptainer"] == ("container:" in rules)
    assert software["report"] == ("report(" in rules)
