"""The remedy that an error message names is a command that can be typed."""

import shlex
from pathlib import Path

import pytest
from llm_anatomy.artefacts.remake import COMMAND_VARIABLE, CONFIGURATION_VARIABLE, remake_command
from llm_anatomy.errors import UserError
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import read_arrow
from llm_anatomy.tables.registry import ALL_TABLES


def test_the_command_names_the_users_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIGURATION_VARIABLE, raising=False)
    monkeypatch.delenv(COMMAND_VARIABLE, raising=False)
    path = Path("results/a b.parquet")
    plain = shlex.split(remake_command("count", path))
    assert plain == ["snakemake", "--cores", "1", "--forcerun", "count", "--", str(path)]
    monkeypatch.setenv(CONFIGURATION_VARIABLE, "my runs/one.yaml\ntwo.yaml")
    chosen = shlex.split(remake_command("count", path))
    assert chosen[3:6] == ["--configfile", "my runs/one.yaml", "two.yaml"]
    assert chosen[6:] == plain[3:]
    monkeypatch.setenv(COMMAND_VARIABLE, "llm-anatomy run")
    assert shlex.split(remake_command("count", path)) == ["llm-anatomy", "run", *chosen[1:]]


def test_a_missing_claims_table_names_its_own_studys_rule(tmp_path: Path) -> None:
    path = tmp_path / "results/patching/claims.parquet"
    with pytest.raises(UserError, match=r"rule conclude_patching;.*--forcerun conclude_patching"):
        read_arrow(path, CLAIMS)


def test_every_table_finds_its_rule_from_its_path() -> None:
    for schema in ALL_TABLES.values():
        rule = schema.rule_of(Path("/run") / schema.path.replace("{study}", "facts"))
        assert "{" not in rule, schema.name
