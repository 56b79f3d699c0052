"""The wheel, installed in a new environment, runs from an empty folder with a difficult name."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile

import pytest

from tests.workflow.project import ROOT
from tests.workflow.tiny_run import write_tiny_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built as `pip install` from a source archive would build it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", folder, ROOT], check=True)
    (file,) = folder.glob("llm_anatomy-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A new environment with the wheel; what it depends on is lent from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    (site,) = folder.glob("lib/python*/site-packages")
    # Its own .pth files, such as that of an editable install, are not followed from here.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    return folder


@pytest.fixture(scope="module")
def run(installed, tmp_path_factory):
    """Runs the installed command in an empty folder; nothing of the checkout is on any path."""
    folder = tmp_path_factory.mktemp("leer") / "Leerer Ordner für Läufe"
    folder.mkdir()
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = [str(installed / "bin/llm-anatomy"), *arguments]
        environment = clean | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)

    command.folder = folder
    return command


def test_the_wheel_carries_what_a_run_reads_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    carried = {name.partition("/pipeline/")[2] for name in names if "/pipeline/" in name}
    shipped = [*ROOT.glob("rules/*.smk"), *ROOT.glob("config/**/*.yaml"), *ROOT.glob("envs/*.lock")]
    shipped += [*ROOT.glob("profiles/*/profile.yaml"), *ROOT.glob("workflow/report/*.rst")]
    missing = {file.relative_to(ROOT).as_posix() for file in shipped} - carried
    assert not missing
    assert {"Snakefile", "workflow/Snakefile"} <= carried
    assert any(name.endswith("report/templates/report.html.jinja") for name in names)
    assert not [name for name in names if "test" in name.split("/")[0] or ".pyc" in name]


def test_the_version_stands_in_one_place(run):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run("--version").stdout.strip() == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_tiny_configuration_runs_to_its_end(run):
    write_tiny_run(run.folder)
    done = run("run", "--cores", "2", "--configfile", "tiny.yaml")
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    assert (run.folder / "results/report.html").stat().st_size > 100_000
    assert str(run.folder / "results/report.html") in done.stdout
    again = run("run", "-n", "--configfile", "tiny.yaml")
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr
    verified = run("verify")
    assert verified.returncode == 0, verified.stderr
    manifest = json.loads((run.folder / "results/manifest.json").read_text())
    assert "tiny.yaml" not in manifest["files"]
    paths = [name for entry in manifest["files"].values() for name in entry.get("inputs", [])]
    assert not [path for path in paths if str(ROOT) in path], "nothing comes from the checkout"
    claims = run("explain", "results/claims.parquet")
    assert claims.returncode == 0
    assert "claims" in claims.stdout


def test_a_mistake_is_one_sentence_outside_a_checkout_too(run):
    done = run("run", "--configfile", "nowhere.yaml")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: nowhere.yaml: ")
