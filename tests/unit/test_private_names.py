"""Each name of Snakemake's own that the workflow leans on, asked of a real, tiny run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from llm_anatomy.artefacts.records import read_records
from llm_anatomy.rulebook import private

SNAKEFILE = """
import json
import sys
from pathlib import Path
from llm_anatomy.rulebook import private

configfile: "default.yaml"

COMMANDS = ["false"]

rule all:
    input: "out/second.txt"

rule first:
    '''Write a file.'''
    output: "out/{name}.csv"
    params: "code llm_anatomy/x.py 0a"
    shell: "ls .snakemake/locks > {output}; echo {wildcards.name} >> names.txt"

rule second:
    '''Copy it.'''
    input: table="out/a.csv"
    output: table="out/second.txt"
    params: settings="{{}}"
    shell: COMMANDS[-1]

SECOND = next(rule for rule in workflow.rules if rule.name == "second")

def conda():
    private.set_environment(SECOND, "environment.yaml")
    private.set_environment(workflow.get_rule("all"), "environment.yaml")
    return [bool(workflow.get_rule(name).conda_env) for name in ("second", "all")]

def message():
    private.set_message(SECOND)
    return SECOND.message

def command():
    before = private.command_of(SECOND)
    COMMANDS.append("cp {input.table} {output.table}")
    private.set_command(SECOND, COMMANDS[-1])
    return [before, private.command_of(workflow.get_rule("all"))]

ASKED = {
    "starts_the_run": lambda: private.starts_the_run(workflow),
    "asked_configfiles": lambda: private.asked_configfiles(sys.argv),
    "named_configfiles": lambda: private.named_configfiles(workflow),
    "read_configfiles": lambda: private.read_configfiles(workflow),
    "project_files": lambda: private.project_files(["a.csv"])[0].flags,
    "all_rules": lambda: [rule.name for rule in private.all_rules(workflow)],
    "set_message": message,
    "set_command": command,
    "set_environment": conda,
    "storage_places": lambda: private.storage_places(SECOND.output.table),
    "files_behind": lambda: private.files_behind(workflow, ["out/second.txt"]),
}
for name, ask in ASKED.items():
    try:
        answer = ask()
    except Exception as error:
        answer = {"gone": f"{type(error).__name__}: {error}"}
    # A job's own process reads these lines again.
    if not Path(f"{name}.json").exists():
        Path(f"{name}.json").write_text(json.dumps(answer))
"""

ANSWERS = {
    "starts_the_run": True,
    "asked_configfiles": ["named.yaml"],
    "named_configfiles": ["named.yaml"],
    "read_configfiles": ["named.yaml", "default.yaml"],
    "project_files": {"path_modified": True},
    "all_rules": ["all", "first", "second"],
    "set_message": "second: Copy it. {wildcards}",
    "set_command": ["false", ""],
    "set_environment": [True, False],
    "storage_places": [],
    "files_behind": ["out/second.txt", "out/a.csv"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two jobs, the first of which looks around while Snakemake works."""
    made = tmp_path_factory.mktemp("private")
    (made / "Snakefile").write_text(SNAKEFILE)
    for name in ("default.yaml", "named.yaml", "environment.yaml"):
        (made / name).write_text("{}")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "named.yaml"]
    path = os.pathsep.join(filter(None, [_package(), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command, cwd=made, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    (made / "said.txt").write_text(done.stdout + done.stderr)
    return made


def _package():
    return str(Path(private.__file__).parents[2])


@pytest.mark.parametrize("name", ANSWERS)
def test_snakemake_still_has_what_a_function_wraps(folder, name):
    file = folder / f"{name}.json"
    assert file.exists(), f"Snakemake reads no rules: {(folder / 'said.txt').read_text()}"
    answer = json.loads(file.read_text())
    if isinstance(answer, list) and name.endswith("configfiles"):
        answer = [Path(path).name for path in answer]
    assert answer == ANSWERS[name], (
        f"rulebook.private.{name} leans on a name of Snakemake's own that is gone or means "
        f"something else now: it says {answer} instead of {ANSWERS[name]}; what it is for: "
        f"{getattr(private, name).__doc__}"
    )


def test_every_function_is_asked():
    functions = {
        name
        for name, value in vars(private).items()
        if getattr(value, "__module__", "") == private.__name__
    }
    assert functions - {"command_of"} == set(ANSWERS)


def test_a_command_that_is_set_late_is_the_one_that_runs(folder):
    assert (folder / "out/second.txt").exists(), (
        "Snakemake no longer looks at a rule's `shell` again when its job starts, by when "
        "rulebook.commands has written the command's options: "
        f"{(folder / 'said.txt').read_text()}"
    )


def test_records_lie_where_the_manifest_reads_them(folder, monkeypatch):
    monkeypatch.chdir(folder)
    records = read_records()
    assert set(records) == {"out/a.csv", "out/second.txt"}, (
        "Snakemake's records of outputs have another place or other names now; "
        "artefacts/records.py reads them for results/manifest.json"
    )
    assert records["out/second.txt"]["rule"] == "second"
    assert records["out/second.txt"]["input"] == ["out/a.csv"]
    assert records["out/a.csv"]["params"] == ["'code llm_anatomy/x.py 0a'"]


def test_a_run_holds_its_locks_where_make_looks_for_them(folder):
    assert (folder / "out/a.csv").read_text().strip(), (
        "Snakemake's locks no longer lie in .snakemake/locks, where `make run` looks for those of "
        "a run that was killed"
    )


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["--cores", "1", "geometry"], []),
        (["--configfile", "a.yaml", "b.yaml", "--dry-run", "geometry"], ["a.yaml", "b.yaml"]),
        (["--configfile=a.yaml", "b.yaml", "--config", "seed=1"], ["a.yaml", "b.yaml"]),
        (["--configfiles", "a.yaml", "-n", "--configfile", "c.yaml"], ["a.yaml", "c.yaml"]),
    ],
)
def test_the_files_that_a_command_line_names(arguments, files):
    assert private.asked_configfiles(arguments) == files
