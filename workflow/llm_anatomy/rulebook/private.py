"""What the rules need of Snakemake beyond its documented language, one function for each name.

Snakemake may rename these without notice: tests/unit/test_private_names.py asks a real Snakemake
for each, and says which is gone and what it was for.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from snakemake.io import flag
from snakemake.path_modifier import PATH_MODIFIER_FLAG


def starts_the_run(workflow: Any) -> bool:
    """Whether this process plans the run; false for a process that runs one of its jobs."""
    return bool(workflow.is_main_process)


def named_configfiles(workflow: Any) -> list[str]:
    """The files that the user gave with `--configfile`, as absolute paths."""
    return [str(name) for name in workflow.overwrite_configfiles]


def asked_configfiles(arguments: Sequence[str]) -> list[str]:
    """The files behind `--configfile` on Snakemake's command line, which it reads before any rule.

    Args:
        arguments: The command line; every word behind the option counts, up to the next option.
    """
    files: list[str] = []
    inside = False
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if argument.startswith("-"):
            inside = option in ("--configfile", "--configfiles")
            files += [value] if inside and equals else []
        elif inside:
            files.append(argument)
    return files


def read_configfiles(workflow: Any) -> list[str]:
    """All files that the configuration was read from."""
    return [str(name) for name in workflow.configfiles]


def project_files(files: str | list[str]) -> Any:
    """Files of the project: they never lie in object storage, where other inputs are looked for,
    and travel with a job to other machines, where `local` would keep every job on this one.
    """
    return flag(files, PATH_MODIFIER_FLAG)


def all_rules(workflow: Any) -> Iterable[Any]:
    """Every rule that has been read so far."""
    rules: Iterable[Any] = workflow.rules
    return rules


def command_of(rule: Any) -> str:
    """A rule's shell command; empty for a rule that only names its inputs."""
    return rule.shellcmd or ""


def set_command(rule: Any, command: str) -> None:
    """Replace the command that Snakemake prints, records and compares for a rule."""
    rule.shellcmd = command


def set_message(rule: Any) -> None:
    """Print a job as its rule, docstring and wildcards instead of its many inputs."""
    rule.message = rule.message or f"{rule.name}: {rule.docstring} {{wildcards}}"


def set_environment(rule: Any, file: str) -> None:
    """Run a rule's jobs in a conda environment, with `--sdm conda`; targets run nothing."""
    if not rule.norun:
        rule.conda_env = file


def storage_places(output: Any) -> list[str]:
    """Where a result's local copy and the result itself lie; empty without object storage."""
    return [output, output.storage_object.query] if output.is_storage else []


def files_behind(workflow: Any, targets: Iterable[str]) -> list[str]:
    """The files that targets are made from, themselves included, as far as rules make them."""
    found: dict[str, None] = {}
    waiting = list(targets)
    while waiting:
        file = waiting.pop()
        maker = next((rule for rule in all_rules(workflow) if rule.is_producer(file)), None)
        if maker is not None and file not in found:
            wildcards = maker.get_wildcards(file)
            outputs, *_ = maker.expand_output(wildcards)
            inputs, *_ = maker.expand_input(wildcards)
            found |= dict.fromkeys([file, *outputs])
            waiting += inputs
    return list(found)
