"""The commands start fast, end a user's mistake in one sentence, and hand Snakemake its options."""

import os
import signal
import subprocess
import sys
import time

import pytest
import typer
from llm_anatomy.cli import app as commands
from llm_anatomy.cli import launch
from llm_anatomy.cli.app import main
from llm_anatomy.cli.explain import explain_table
from llm_anatomy.config.shipped import chosen_files, paper_configurations, pipeline_folder
from llm_anatomy.errors import UserError
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.registry import ALL_TABLES

HEAVY = {"torch", "transformers", "matplotlib", "sklearn", "scipy", "seaborn", "snakemake"}
COMMANDS = {info.callback.__name__ for info in commands.app.registered_commands}


def leaves(*arguments):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["explain", "claims"], ["show"], ["--version"]]
)
def test_what_needs_no_model_starts_without_model_libraries(arguments, tmp_path):
    code = (
        "import sys\nfrom llm_anatomy.cli.app import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_examples_or_its_exit_status(name, capsys):
    assert leaves(name, "--help") == 0
    text = capsys.readouterr().out
    assert f"llm-anatomy {name}" in text or "Exit status" in text
    assert "\\b" not in text


@pytest.mark.parametrize("command", ["run", "plan", "status", "doctor"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "bad.yaml: the configuration file cannot be read"),
        ("models: [\n", "bad.yaml: line 2 is not valid YAML"),
        ("toxicty: {}\n", "unknown key 'toxicty'; did you mean 'toxicity'?"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(
    command, content, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None) if command != "doctor" else None
    if content is not None:
        (tmp_path / "bad.yaml").write_text(content)
    assert leaves(command, "--configfile", "bad.yaml") == 1
    said = "".join(capsys.readouterr())
    (line,) = [line for line in said.splitlines() if "bad.yaml" in line]
    assert words in line
    assert "Traceback" not in said
    assert not (tmp_path / ".snakemake").exists()


def test_usage_errors_have_a_status_of_their_own(capsys):
    assert leaves("frobnicate") == 2
    assert leaves("score") == 2


@pytest.fixture
def handed(monkeypatch, tmp_path):
    """What `run` hands to Snakemake, in a folder with a configuration."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    (tmp_path / "more.yaml").write_text("seed: 2\n")
    (tmp_path / "profiles").mkdir()
    seen = []
    monkeypatch.setattr(launch, "run", lambda a, c, n: seen.append((list(a), c.seed, n)) or 0)
    monkeypatch.setattr(launch, "dry_run", lambda a: seen.append((list(a), None, None)) or 0)
    return seen


@pytest.mark.parametrize(
    ("arguments", "expected", "seed"),
    [
        (
            ["toxicity", "--configfile", "mine.yaml", "--cores", "3"],
            ["toxicity", "--cores", "3", "--configfile", "mine.yaml"],
            1,
        ),
        (
            ["--configfile", "mine.yaml", "more.yaml", "-c", "1", "--rerun-triggers", "mtime"],
            ["--rerun-triggers", "mtime", "--cores", "1", "--configfile", "mine.yaml", "more.yaml"],
            2,
        ),
        (
            ["-c1", "--configfile", "mine.yaml", "--forcerun", "count", "--", "results/a b.csv"],
            [
                *("--forcerun", "count", "--cores", "1", "--configfile"),
                "mine.yaml",
                "--",
                "results/a b.csv",
            ],
            1,
        ),
        (
            ["--profile", "slurm", "--configfile", "mine.yaml"],
            ["--profile", str(pipeline_folder() / "profiles/slurm"), "--configfile", "mine.yaml"],
            1,
        ),
        (
            ["--profile", "profiles/mine", "--configfile", "mine.yaml"],
            ["--profile", "profiles/mine", "--configfile", "mine.yaml"],
            1,
        ),
    ],
)
def test_run_hands_on_what_is_snakemakes(handed, arguments, expected, seed):
    assert leaves("run", *arguments) == 0
    ((given, read_seed, _),) = handed
    assert given == expected
    assert read_seed == seed


def test_a_papers_run_is_its_shipped_configuration(handed):
    for name, file in paper_configurations().items():
        assert leaves("run", "-n", "--paper", name) == 0
        assert handed[-1][0][-2:] == ["--configfile", str(file)]
    with pytest.raises(UserError, match=r"--paper is 'poetry'; the papers are attend_first"):
        chosen_files([], "poetry")


def test_the_configuration_of_the_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert chosen_files([]) == [pipeline_folder() / "config/config.yaml"]
    for name in ("config/config.yaml", "llm-anatomy.yaml"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("seed: 1\n")
        assert [path.as_posix() for path in chosen_files([])] == [name]


def test_a_run_in_a_folder_where_another_one_works_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = launch._alone()
    with launch._alone(), pytest.raises(UserError, match="another run works in"):
        alone.__enter__()
    with launch._alone():
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_run_and_what_it_started(tmp_path, number):
    """A stand-in for Snakemake with a job of its own; both leave a note when they are stopped."""
    job = (
        "import signal, sys, time, pathlib\n"
        "name = sys.argv[1]\n"
        "def stop(*_):\n    pathlib.Path(name + '.stopped').touch(); sys.exit(1)\n"
        "signal.signal(signal.SIGINT, stop); signal.signal(signal.SIGTERM, stop)\n"
        "pathlib.Path(name + '.started').touch()\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "job.py").write_text(job)
    outer = (
        "import subprocess, sys\n"
        "from llm_anatomy.cli import launch\n"
        'code = \'import subprocess, sys; p = subprocess.Popen([sys.executable, "job.py", '
        '"inner"]); exec(open("job.py").read())\'\n'
        "process = launch._start([sys.executable, '-c', code, 'outer'], None)\n"
        "sys.exit(launch._finished(process))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", outer], cwd=tmp_path)
    wait_for(lambda: all((tmp_path / f"{n}.started").exists() for n in ("inner", "outer")))
    os.kill(process.pid, number)
    assert process.wait(timeout=60) == 128 + number
    wait_for(lambda: all((tmp_path / f"{n}.stopped").exists() for n in ("inner", "outer")))


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_explain_says_what_every_column_means(tmp_path, capsys):
    for name, schema in ALL_TABLES.items():
        text = " ".join(explain_table(name).split())
        for column in schema.columns:
            assert " ".join(f"{column.name} {column.meaning}".split()) in text, (name, column.name)
    assert leaves("explain", "clams") == 1
    assert "there is no table 'clams'; did you mean 'claims'?" in capsys.readouterr().err


def test_explain_reads_which_table_a_file_is(tmp_path):
    path = tmp_path / "claims.parquet"
    write_table(path, CLAIMS, CLAIMS.frame([]), {"model": "tiny", "seed": 3, "dtype": "float32"})
    first = explain_table(str(path)).splitlines()[0]
    assert first == f"{path}: 0 rows; model tiny, dtype float32, seed 3"
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is no Parquet file that can be read"):
        explain_table(str(tmp_path / "other.parquet"))


def test_show_names_the_page_or_how_to_make_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert leaves("show", "--no-open") == 1
    assert "make it with: llm-anatomy run" in capsys.readouterr().err
    (tmp_path / "results").mkdir()
    (tmp_path / "results/report.html").write_text("<p>")
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert leaves("show") == 0
    assert opened == [(tmp_path / "results/report.html").as_uri()]
    assert leaves("show", "poster") == 1


def test_completion_can_be_installed():
    assert isinstance(commands.app, typer.Typer)
    names = [parameter.name for parameter in typer.main.get_command(commands.app).params]
    assert "install_completion" in names
