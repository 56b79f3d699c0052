"""How a stage runs, and what it prints when it fails."""

import errno
import gc

import pytest
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
