"""The rerun matrix: which change reruns which stages. docs/reruns.md tells users the same."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.workflow.project import Project
from tests.workflow.tiny_run import write_tiny_run

# What follows from any change of a result: claims, report, manifest and the targets above them.
TAIL = {"report", "write_manifest", "all"}


@pytest.fixture(scope="module")
def downstream(finished):
    """For every rule, the rules that need its results."""
    graph = finished.run("--forceall", "--rulegraph", "dot")
    names = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)', graph, re.MULTILINE))
    edges = [(names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", graph)]

    def closure(rules):
        found = set(rules)
        while more := {b for a, b in edges if a in found} - found:
            found |= more
        return found

    closure.rules = set(names.values())
    return closure


def rules_after(finished, job):
    """The rules of all jobs that need the results of one job, and its own."""
    graph = finished.run("--forceall", "--dag", "dot")
    labels = dict(re.findall(r'^\s*(\d+)\[label = "([^"]*)"', graph, re.MULTILINE))
    edges = re.findall(r"(\d+) -> (\d+)", graph)
    found = {number for number, label in labels.items() if label == job}
    assert found, f"there is no job {job}"
    while more := {b for a, b in edges if a in found} - found:
        found |= more
    return {labels[number].partition("\\n")[0] for number in found}


@pytest.fixture(scope="module")
def imported(finished):
    """The modules that Python itself loads for every stage, without the walk over the syntax."""
    code = (
        "import importlib, json, pkgutil, sys, llm_anatomy.stages as stages\n"
        "ours = lambda: [k for k in sys.modules if k.startswith('llm_anatomy.')]\n"
        "loaded = {}\n"
        "for stage in pkgutil.iter_modules(stages.__path__):\n"
        "    for name in ours(): del sys.modules[name]\n"
        "    importlib.import_module(f'llm_anatomy.stages.{stage.name}')\n"
        "    loaded[stage.name] = [k.partition('.')[2].replace('.', '/') + '.py' for k in ours()]\n"
        "print(json.dumps(loaded))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=finished.folder,
        env=finished.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@contextmanager
def edited(path, change):
    """A file with a change, and as it was afterwards."""
    before = path.read_text()
    path.write_text(change(before))
    try:
        yield
    finally:
        path.write_text(before)


def configured(project, section, **values):
    """The tiny configuration with some values of one section changed."""

    def change(text):
        configuration = json.loads(text)
        place = configuration
        for key in section:
            place = place.setdefault(key, {})
        place.update(values)
        return json.dumps(configuration)

    return edited(project.folder / "tiny.yaml", change)


def test_touching_every_file_reruns_nothing(finished):
    """But figures and the atlas: Snakemake compares output folders, unlike files, by time alone."""
    for path in finished.folder.rglob("*"):
        if path.is_file() and not {".snakemake", "figures", "atlas"} & set(path.parts[:-2]):
            os.utime(path)
    assert finished.planned() == {}


def test_a_comment_in_the_configuration_reruns_nothing(finished):
    with edited(finished.folder / "tiny.yaml", lambda text: f"# why\n{text}\n# because\n"):
        assert finished.planned() == {}


def test_compute_settings_rerun_nothing(finished):
    with configured(finished, ["compute"], threads=2, batch_tokens=64):
        assert finished.planned() == {}


def test_a_changed_estimate_of_memory_and_time_reruns_nothing(finished):
    def change(text):
        changed = re.sub(r"^(MEMORY_ROOM|TIME_ROOM) = .*", r"\1 = 9.0", text, flags=re.MULTILINE)
        assert changed != text
        return changed

    with edited(finished.package / "plan/needs.py", change):
        assert finished.planned() == {}


def test_a_moved_project_reruns_nothing(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "moved", symlinks=True)
    assert Project(tmp_path / "moved").planned() == {}


@pytest.mark.parametrize(
    "module",
    [
        "stages/report.py",
        "toxicity/folds.py",
        "geometry/spline.py",
        "figures/patching.py",
        "model/run/hooks.py",
    ],
)
def test_an_edited_module_reruns_exactly_the_stages_that_import_it(
    finished, downstream, imported, module
):
    importing = {stage for stage, modules in imported.items() if module in modules}
    importing &= downstream.rules
    assert importing, f"no rule of this run imports {module}"
    with edited(finished.package / module, lambda text: f"{text}\n# edited\n"):
        assert set(finished.planned()) == downstream(importing)
        reasons = re.findall(r"before: (.*) now: (.*)", finished.run("--dry-run"))
        named = {word for pair in reasons for word in re.findall(r"code (\S+)", " ".join(pair))}
        assert named == {f"llm_anatomy/{module}"}


@pytest.mark.parametrize(
    ("section", "values", "first"),
    [
        (["toxicity", "scoring"], {"resamples": 30}, {"detect_toxicity"}),
        (["patching", "summary"], {"resamples": 120}, {"summarise_sweeps"}),
        (["geometry", "intrinsic_dimension"], {"clip": "heads"}, {"intrinsic_dimension"}),
        (["neurons", "search"], {"neurons": 4}, {"find_concepts"}),
    ],
)
def test_a_changed_key_reruns_exactly_the_stages_that_read_it(
    finished, downstream, section, values, first
):
    with configured(finished, section, **values):
        planned = set(finished.planned())
    assert first <= planned
    study = section[0]
    never = {"prepare_model", "extract_activations", "build_dataset", "map_neurons", "sweep_layers"}
    assert not planned & never
    # Whatever else runs, runs because of the study's own rules.
    own = set(
        re.findall(r"^rule (\w+)", (finished.folder / f"rules/{study}.smk").read_text(), re.M)
    )
    assert planned <= downstream(own & planned) | TAIL
    assert "report" in planned


def test_a_changed_text_reruns_what_depends_on_the_data(finished):
    with edited(finished.folder / "remarks.csv", lambda text: text.replace("fool", "fish")):
        planned = finished.planned()
    # One job: the relation, which the same rule makes, stays.
    assert planned["build_dataset"] == 1
    assert not set(planned) & {"prepare_model", "sweep_layers"}
    assert set(planned) == rules_after(finished, r"build_dataset\ndataset: remarks")


def test_an_edited_file_of_any_kind_makes_its_own_table_again(tmp_path):
    project = Project.copy(tmp_path)
    write_tiny_run(project.folder)
    files = {
        "questions": ("qa", "context,question,answers\nIt is late.,How is it?,late\n"),
        "news": ("articles", "article,summary\nIt is late.,Late.\n"),
    }
    configuration = json.loads((project.folder / "tiny.yaml").read_text())
    for name, (kind, text) in files.items():
        (project.folder / f"{name}.csv").write_text(text)
        configuration["datasets"].append({"name": name, "kind": kind, "path": f"{name}.csv"})
    configuration["studies"] = ["patching"]
    task = {"kind": "extractive_qa", "name": "asked", "dataset": "questions"}
    configuration["patching"]["tasks"].append(task)
    (project.folder / "tiny.yaml").write_text(json.dumps(configuration))
    tables = [f"results/data/{name}.parquet" for name in files]
    project.run(*tables)
    assert project.planned(*tables) == {}
    examples = "results/patching/tiny/asked/examples.parquet"
    assert project.planned(*tables, examples) == {"prepare_model": 1, "build_tasks": 1}
    with edited(project.folder / "questions.csv", lambda text: text.replace("late", "early")):
        assert project.planned(*tables) == {"build_dataset": 1}


def test_one_study_can_be_made_again_by_its_name(finished):
    planned = finished.planned("toxicity", "--forcerun", "detect_toxicity")
    assert "detect_toxicity" in planned
    assert not set(planned) & {"extract_activations", "spline_features", "sweep_layers", "report"}
