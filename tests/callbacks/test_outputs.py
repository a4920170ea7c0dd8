"""A callback of the server with several outputs names them, so that no answer depends on their order."""

import ast
from pathlib import Path

from aevis_dash import callbacks

FOLDER = Path(callbacks.__file__).parent


def declared() -> list[tuple[str, ast.Call]]:
    """Every `app.callback(...)` of the package, and where it stands."""
    found = []
    for file in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "app.callback":
                found.append((f"{file.relative_to(FOLDER)}, line {node.lineno}", node))
    return found


def test_several_outputs_are_named():
    found = declared()
    assert len(found) > 15
    unnamed = [
        place
        for place, call in found
        if sum(isinstance(one, ast.Call) and ast.unparse(one.func) == "Output" for one in call.args) > 1
    ]
    assert unnamed == []
    named = [call for _, call in found if any(word.arg == "output" for word in call.keywords)]
    assert len(named) >= 13


def test_no_answer_is_a_row_of_values():
    """What a callback with named outputs returns is a dict, or no_update for all of them."""
    rows = []
    for file in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any("app.callback" in ast.unparse(d) for d in node.decorator_list):
                returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
                rows += [f"{file.name}: {node.name}" for value in returned if isinstance(value, ast.Tuple)]
    assert rows == []
