"""From a YAML file to the validated configuration, and from a mistake to one sentence."""

import difflib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from llm_anatomy.config.root import Configuration
from llm_anatomy.errors import UserError

# What would be right, by the type of pydantic's error.
RIGHT_VALUES = {
    "literal_error": "{expected}",
    "union_tag_invalid": "an entry whose {discriminator} is one of {expected_tags}",
    "union_tag_not_found": "an entry that says its {discriminator}",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text (put it in quotes)",
    "list_type": "a list, such as [a, b]",
    "tuple_type": "a list, such as [a, b]",
    "model_type": "keys and values (leave the key out for its defaults)",
    "dict_type": "keys and values",
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "text that is not empty",
    "string_pattern_mismatch": "text of the form {pattern}",
    "invalid_key": "keys that are text",
}


def load_configuration(values: Mapping[str, Any], source: str) -> Configuration:
    """Validate configuration values.

    Args:
        values: The keys and values, as read from YAML.
        source: The file (or command line) that they come from, for the error message.

    Raises:
        UserError: A key is unknown or a value is not allowed; the sentence names the source, the
            key, the value and what would be right.
    """
    try:
        configuration = Configuration.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{source}: {sentence(error, Configuration)}") from error
    found = _truth_as_number(values, configuration, "")
    if found is not None:
        path, value = found
        raise UserError(
            f"{source}: the key '{path}' is {_show(value)}; YAML reads yes, no, on and off so, and "
            "right would be a number"
        )
    return configuration


def _truth_as_number(given: Any, taken: Any, path: str) -> tuple[str, bool] | None:
    """Where true or false was given and a number taken, as pydantic does."""
    if isinstance(given, bool):
        number = isinstance(taken, int | float) and not isinstance(taken, bool)
        return (path, given) if number else None
    pairs: list[tuple[str, Any, Any]] = []
    if isinstance(given, Mapping):
        own = vars(taken) if isinstance(taken, BaseModel) else taken
        if isinstance(own, Mapping):
            start = f"{path}." if path else ""
            pairs = [(f"{start}{key}", v, own[key]) for key, v in given.items() if key in own]
    elif isinstance(given, list) and isinstance(taken, list | tuple) and len(given) == len(taken):
        pairs = [(f"{path}[{n}]", *pair) for n, pair in enumerate(zip(given, taken, strict=True))]
    return next((f for pair in pairs if (f := _truth_as_number(*pair[1:], pair[0]))), None)


def sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake that pydantic found, as one sentence a user can act on."""
    located = [(_locate(d["loc"], model), d) for d in error.errors(include_url=False)]
    first, details = located[0]
    if details["type"] == "missing":
        # A key that is spelled wrongly is missing, too: what is there says more than what is not.
        beside = [d for _, d in located if d["loc"][:-1] == details["loc"][:-1]]
        details = next((d for d in beside if d["type"] == "extra_forbidden"), details)
    if details["type"] == "extra_forbidden":
        return _unknown_key(details, model)
    # A value that fits no member of a union is reported once per member; the deepest place tells
    # most, and there every member says what would be right.
    place = max((p for p, _ in located if p.path.startswith(first.path)), key=lambda p: len(p.path))
    here = [d for p, d in located if p.path == place.path]
    details = here[0]
    if details["type"] == "missing":
        return f"the key '{place.path}' is missing{_meaning(place)}"
    right = [
        RIGHT_VALUES[d["type"]].format(**d.get("ctx", {}))
        for d in here
        if d["type"] in RIGHT_VALUES
    ]
    message = f"right would be {' or '.join(right)}" if right else _message(details)
    if details["type"] == "value_error" and isinstance(details["input"], dict | list | BaseModel):
        # The classes' own checks say themselves which of the values below is wrong.
        return f"in '{place.path}': {message}" if place.path else message
    if isinstance(details["input"], bool):
        # A column named "off" or "no" is what a user wrote, and not what arrived here.
        message = f"YAML reads yes, no, on and off so, and quotes keep a word; {message}"
    return f"the key '{place.path}' is {_show(details['input'])}; {message}{_meaning(place)}"


def _message(details: ErrorDetails) -> str:
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return message[0].lower() + message[1:] if message[:2].istitle() else message


def _meaning(place: "_Place") -> str:
    if place.owner is None:
        return ""
    description = place.owner.model_fields[place.key].description
    return f" ({place.key}: {description.rstrip('.')})" if description else ""


def _unknown_key(details: ErrorDetails, model: type[BaseModel]) -> str:
    *parents, last = details["loc"]
    wrong, group = str(last), _locate(tuple(parents), model)
    path = f"{group.path}.{wrong}" if group.path else wrong
    known = sorted({key for inner in _models(group.types) for key in inner.model_fields})
    close = difflib.get_close_matches(wrong, known, n=1)
    elsewhere = [key for key in _all_keys(model) if key.split(".")[-1] == wrong]
    if close or elsewhere:
        return f"unknown key '{path}'; did you mean '{(close or elsewhere)[0]}'?"
    if wrong == "file" and any(key in known for key in ("dataset", "relation")):
        named = [key for key in ("dataset", "relation") if key in known]
        return (
            f"unknown key '{path}'; files are named in 'datasets', by 'path' and 'kind', and here "
            f"by the data set's name, under {' or '.join(named)}"
        )
    where = f"in '{group.path}'" if group.path else "at the top level"
    return f"unknown key '{path}'; the keys {where} are {', '.join(known)}"


@dataclass(frozen=True)
class _Place:
    """A spot in the configuration: its readable path, its field, and what may stand there."""

    path: str
    owner: type[BaseModel] | None
    key: str
    types: list[Any]


def _locate(location: Sequence[int | str], model: type[BaseModel]) -> _Place:
    """Follow pydantic's location; names of union members, which no user wrote, are left out."""
    place = _Place("", None, "", [model])
    for part in location:
        member = [kind for kind in place.types if part in _tags(kind)]
        if len(place.types) > 1 and member:
            place = replace(place, types=member)
            continue
        owner = next((m for m in _models(place.types) if part in m.model_fields), None)
        path = f"{place.path}.{part}" if place.path else str(part)
        if isinstance(part, int):
            inside = [t for kind in place.types for t in typing.get_args(kind)]
            place = replace(place, path=f"{place.path}[{part}]", types=_flat(inside))
        elif owner is not None:
            place = _Place(path, owner, part, _flat([owner.model_fields[part].annotation]))
        elif any(typing.get_origin(kind) is dict for kind in place.types):
            values = [typing.get_args(k)[1] for k in place.types if typing.get_origin(k) is dict]
            place = replace(place, path=path, types=_flat(values))
    return place


def _flat(annotations: Sequence[Any]) -> list[Any]:
    """The members of unions, whatever their nesting and annotation."""
    found: list[Any] = []
    for annotation in annotations:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            found += _flat(typing.get_args(annotation)[:1])
        elif origin in (typing.Union, types.UnionType):
            found += _flat(typing.get_args(annotation))
        else:
            found.append(annotation)
    return found


def _models(annotations: Sequence[Any]) -> list[type[BaseModel]]:
    return [kind for kind in annotations if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _tags(kind: Any) -> set[str]:
    """What pydantic may call a member of a union: its name or its discriminator's value."""
    if not _models([kind]):
        return set()
    literals = [f.annotation for f in kind.model_fields.values()]
    values = [v for a in literals if typing.get_origin(a) is Literal for v in typing.get_args(a)]
    return {kind.__name__, *map(str, values)}


def _all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for inner in _models(_flat([field.annotation])):
            keys.extend(_all_keys(inner, f"{prefix}{name}."))
    return keys


def _show(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:
        # A YAML alias inside what it names.
        text = "a value that holds itself"
    return text if len(text) <= 80 else f"{text[:77]}..."
