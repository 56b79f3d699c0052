"""How a stage runs, and what it prints when it fails."""

import errno
import gc
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from llm_anatomy import runner
from llm_anatomy.config.base import Settings
from llm_anatomy.runner import run_stage


class Nothing(Settings):
    """A stage that reads no setting."""


def message_of(error: Exception, caplog: pytest.LogCaptureFixture) -> str:
    def run(settings: Nothing) -> None:
        raise error

    run.__annotations__ = {"settings": Nothing, "return": None}
    with pytest.raises(SystemExit) as ended:
        run_stage(run, ["--settings", "{}"])
    assert ended.value.code == 1
    return caplog.text


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.parquet"), "disk is full while a.par"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "the disk is full while a result is written"),
        (RuntimeError("I/O error: No space left on device"), "free some space and run the same"),
        (OSError(errno.EROFS, "Read-only", "results/x"), "results/x may not be read or written"),
        (PermissionError(errno.EACCES, "Permission denied", "tiny.csv"), "tiny.csv may not be"),
    ],
)
def test_a_disk_that_refuses_is_one_sentence(
    error: Exception, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = message_of(error, caplog)
    assert sentence in said
    assert "Traceback" not in said


def test_a_fault_of_the_code_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    said = message_of(ZeroDivisionError("no"), caplog)
    assert "Traceback" in said
    assert "please report it" in said


def test_garbage_is_collected_while_a_stage_runs() -> None:
    seen: list[bool] = []

    def run(settings: Nothing) -> None:
        seen.append(gc.isenabled())

    run.__annotations__ = {"settings": Nothing, "return": None}
    # As `python -m` leaves it once everything is imported; see stages/__init__.py.
    gc.disable()
    run_stage(run, ["--settings", "{}"])
    assert seen == [True]
    gc.unfreeze()


def test_ctrl_c_while_a_stage_imports_is_one_sentence():
    """torch takes seconds to import; a file in its place says that it has begun, and waits."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "torch.py").write_text(
            "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
        )
        package = str(Path(runner.__file__).parents[1])
        stage = subprocess.Popen(
            [sys.executable, "-m", "llm_anatomy.stages.extract_activations", "--settings", "{}"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([folder, package])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert stage.stdout is not None
        assert stage.stdout.readline() == "importing\n"
        stage.send_signal(signal.SIGINT)
        _, said = stage.communicate(timeout=30)
    assert stage.returncode == 130
    assert said == "Interrupted before any work; the same command goes on.\n"
