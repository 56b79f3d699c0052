"""A configuration file before its values are read: that it is YAML, and means what it says."""

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from llm_anatomy.errors import UserError

# What UTF-16 and UTF-32 begin with; without a mark every other byte of Latin text is 0.
_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00")
# Whole numbers that YAML 1.1 reads as something else than their digits.
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_CLOCK = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


def check_file(path: Path) -> None:
    """Check what a YAML parser would let pass, or say less well: before Snakemake reads a file.

    Raises:
        UserError: The file is missing, not UTF-8, not YAML, not a mapping, gives a key twice, or
            holds a number that YAML reads as another.
    """
    text = _read(path)
    if _is_json(text):
        # Tabs indent JSON, and not YAML; inside its texts they cannot stand.
        text = text.replace("\t", " ")
    try:
        values = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UserError(f"{path}: line {line} is not valid YAML ({error.problem})") from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise UserError(
            f"{path}: line {line} holds the character U+{ord(text[error.position]):04X}, which "
            "YAML does not allow; delete it"
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict | None):
        raise UserError(
            f"{path}: the file holds {_kind(values)} where keys and values belong, such as "
            "'seed: 0'"
        )


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: the configuration file cannot be read ({error.strerror}); give the path of a "
            "YAML file, such as a copy of config/config.yaml (targets stand before --configfile)"
        ) from error
    if content.startswith(_MARKS) or content[1:2] == b"\x00":
        raise UserError(f"{path}: line 1: the file is UTF-16 or UTF-32 text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}: line {line} holds a byte (0x{content[error.start]:02x}) that is not UTF-8 "
            "text; save the file as UTF-8"
        ) from error


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a single value"


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, and a number that is not what it looks like."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _mistake("braces stand for keys and values; put the text in quotes", key_node)
            if key in seen:
                raise _mistake(f"the key '{key}' is given twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def plain_number(self, node: yaml.ScalarNode) -> Any:
        """A number, where YAML 1.1 reads its digits as they stand."""
        text = str(node.value)
        digits = text.lstrip("+-0_")
        if _OCTAL.fullmatch(text) and digits:
            raise _mistake(
                f"{text} would be read as an octal number; write {digits}, or '{text}' in quotes "
                "for text",
                node,
            )
        if _CLOCK.fullmatch(text):
            raise _mistake(
                f"{text} would be read as a number to the base of 60; write '{text}' in quotes",
                node,
            )
        if node.tag.endswith(":int"):
            return self.construct_yaml_int(node)
        return self.construct_yaml_float(node)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.plain_number)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _StrictLoader.plain_number)


def _mistake(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
