"""docs/panda.ipynb runs from its first cell to its last, and says what it says in the docs."""

import json
import re
import runpy
import shutil
from pathlib import Path

import plotly.graph_objects as go
import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def book():
    return json.loads((DOCS / "panda.ipynb").read_text(encoding="utf-8"))


def words(text):
    """The lines of a text with its figures left out, which depend on the machine."""
    return re.sub(r"-?\d+(\.\d+)?", "#", text).split("\n")


def said(cell):
    return "".join("".join(output.get("text", [])) for output in cell["outputs"])


def test_the_notebook_runs(book, world, tmp_path, monkeypatch):
    """On the small drawn world, whose example is the same. What it prints and draws is of the same kind."""
    (tmp_path / "docs").mkdir()
    shutil.copytree(world, tmp_path / "cache" / "drawn-world")
    monkeypatch.chdir(tmp_path / "docs")
    cells = json.loads(json.dumps(book["cells"]))
    drawn = []
    runpy.run_path(str(DOCS / "notebook.py"), run_name="notebook")["run"](cells, lambda f: drawn.append(f) or b"png")
    assert [type(figure) for figure in drawn] == [go.Figure] * 3
    for cell, kept in zip(cells, book["cells"], strict=True):
        if cell["cell_type"] == "code":
            assert [sorted(o.get("data", {})) for o in cell["outputs"]] == [
                sorted(o.get("data", {})) for o in kept["outputs"]
            ]
            assert len(words(said(cell))) == len(words(said(kept)))
    everything = "\n".join(said(cell) for cell in cells if cell["cell_type"] == "code")
    assert re.search(r"src: panda with a probability of 0\.9\d\nadv: monkey", everything)
    assert re.search(r"\d+ of 128 maps give panda back: True", everything)
    assert re.search(r"map +\d+ of layer3\.2\.relu_1: \d+\.\d% of the difference", everything)


def test_the_outputs_in_the_docs_are_of_the_cells_as_they_are(book):
    """The code is the one that was run, every cell of it in order."""
    wanted = runpy.run_path(str(DOCS / "notebook.py"), run_name="notebook")["digest"](book["cells"])
    assert book["metadata"]["ran"] == wanted, "say `make notebook`"
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(cell["outputs"] for cell in code)
    pictures = [o for cell in code for o in cell["outputs"] if "image/png" in o.get("data", {})]
    assert len(pictures) == 4
