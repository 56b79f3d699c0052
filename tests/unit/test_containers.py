"""The Dockerfile and the Apptainer definition, line by line: they install the lock, and no more."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.workflow.project import ROOT

LOCK = (ROOT / "envs/requirements.lock").read_text()
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", LOCK, re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTRUCTIONS = {"FROM", "ARG", "ENV", "COPY", "RUN", "WORKDIR", "ENTRYPOINT", "CMD"}


def docker_lines():
    """Every instruction with its arguments, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def apptainer_sections():
    text = (ROOT / "envs/apptainer.def").read_text()
    head, *parts = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    header = dict(re.findall(r"^(\w+): (\S+)$", head, re.MULTILINE))
    return header, {
        name: [line.strip() for line in body.splitlines() if line.strip()]
        for name, body in sections.items()
    }


def install_commands(lines):
    """What pip is told, without what differs between the builders: where and with which cache."""
    found = []
    for line in lines:
        for command in line.split("&&"):
            words = shlex.split(command.replace("$(", "«").replace(")", "»"), comments=False)
            if words[:2] == ["pip", "install"]:
                kept = [w for w in words[2:] if w != "--no-cache-dir"]
                found.append([re.sub(r"/opt/llm-anatomy/?", "", w) or "." for w in kept])
    return found


def test_every_instruction_is_known():
    assert {name for name, _ in docker_lines()} == INSTRUCTIONS
    header, sections = apptainer_sections()
    assert set(sections) == {"files", "environment", "post", "runscript"}
    assert header == {"Bootstrap": "docker", "From": "python:3.11-slim"}


def test_both_start_from_the_python_that_the_lock_was_resolved_on():
    ((_, image),) = [line for line in docker_lines() if line[0] == "FROM"]
    assert image == apptainer_sections()[0]["From"]
    (version,) = re.findall(r"^# Resolved on Python (\d+\.\d+)", LOCK, re.MULTILINE)
    assert image == f"python:{version}-slim"


def test_both_install_torch_then_the_rest_of_the_lock_then_the_project():
    docker = install_commands(text for name, text in docker_lines() if name == "RUN")
    _, sections = apptainer_sections()
    apptainer = install_commands(sections["post"])
    assert len(docker) == len(apptainer) == 3
    for torch, rest, project in (docker, apptainer):
        assert "grep '^torch==' envs/requirements.lock" in " ".join(torch).replace("«", "")
        assert torch[0] == rest[0] == project[0] == "--no-deps"
        assert rest[1:] == ["-r", "/tmp/rest.lock"]
        assert project[1:] == ["--no-build-isolation", "."]
    assert "https://download.pytorch.org/whl/cpu" in "".join(apptainer[0])
    assert ("ARG", "TORCH_INDEX=https://download.pytorch.org/whl/cpu") in docker_lines()


def test_nothing_is_installed_that_the_lock_does_not_name():
    texts = [text for name, text in docker_lines() if name == "RUN"]
    for command in install_commands([*texts, *apptainer_sections()[1]["post"]]):
        for word in (word for word in command if not word.startswith("-")):
            assert not re.fullmatch(r"[\w.-]+(==\S+)?", word) or word == ".", command
    assert not re.search(r"\b(apt|apt-get|curl|wget|conda)\b", " ".join(texts))


def test_the_lock_holds_all_that_the_project_and_its_build_need():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    for requirement in [*PROJECT["dependencies"], *build]:
        name = re.match(r"[\w.-]+", requirement)[0]
        assert name in PINS, f"{requirement} is not in envs/requirements.lock"


def test_both_copy_all_that_the_wheel_carries():
    """What the build reads: the package, and what `hatch_build.py` puts beside it."""
    needed = {"workflow", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE"}
    hook = (ROOT / "hatch_build.py").read_text()
    carried = re.findall(r'^    "([^"]+)",$', hook, re.MULTILINE)
    assert len(carried) > 5
    needed |= {Path(part).parts[0] for part in carried}
    copied = {line.split()[0] for line in apptainer_sections()[1]["files"]}
    assert copied == needed
    for line in apptainer_sections()[1]["files"]:
        source, target = line.split()
        assert target == f"/opt/llm-anatomy/{source}"
        assert (ROOT / source).exists()
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == needed


@pytest.mark.parametrize("name", ["ENTRYPOINT", "runscript"])
def test_both_run_the_projects_command(name):
    (command,) = PROJECT["scripts"]
    if name == "ENTRYPOINT":
        assert (name, f'["{command}"]') in docker_lines()
    else:
        assert apptainer_sections()[1][name] == [f'exec {command} "$@"']
