"""The sentences that a study's claims can say, read from its source."""

import ast
import inspect
import re
from types import ModuleType


def claim_patterns(module: ModuleType) -> list[str]:
    """A pattern for every sentence that a module of claims can write, in order of the source.

    They are the second argument of `claim_row`, and of functions that hand their own `claim` on.
    """
    tree = ast.parse(inspect.getsource(module))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    places = {"claim_row": 1} | {
        function.name: names.index("claim")
        for function in functions
        if "claim" in (names := [argument.arg for argument in function.args.args])
    }
    patterns: list[str] = []
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            place = places.get(call.func.id)
            if place is not None and not _handed_on(call.args[place]):
                patterns += _patterns(call.args[place])
    return list(dict.fromkeys(patterns))


def _handed_on(argument: ast.expr) -> bool:
    return isinstance(argument, ast.Name) and argument.id == "claim"


def _patterns(argument: ast.expr) -> list[str]:
    if isinstance(argument, ast.IfExp):
        return _patterns(argument.body) + _patterns(argument.orelse)
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    texts = [re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in parts]
    if texts == [".+"]:
        raise ValueError(f"the sentence of a claim cannot be read: {ast.unparse(argument)}")
    return ["".join(texts)]
