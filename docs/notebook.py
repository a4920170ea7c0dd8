"""Runs docs/panda.ipynb and keeps its outputs in the file: `make notebook`. Figures are drawn as pictures too, because
not every reader of notebooks draws Plotly's."""

import ast
import base64
import contextlib
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

NOTEBOOK = Path(__file__).resolve().with_name("panda.ipynb")


def run(cells: list[dict[str, Any]], picture: Callable[[go.Figure], bytes] | None = None) -> None:
    """Run the code cells one after another in one namespace, and write into each what it printed and its last value.

    Args:
        cells: the cells of a notebook; the outputs of its code cells are replaced.
        picture: draws a figure as a PNG file; None to leave pictures out.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        tree, said = ast.parse("".join(cell["source"])), io.StringIO()
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(said):
            exec(compile(tree, f"cell {number}", "exec"), names)
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names) if last else None
        cell["execution_count"] = number
        cell["outputs"] = _outputs(said.getvalue(), value, number, picture)


def digest(cells: list[dict[str, Any]]) -> str:
    """A digest of the code of the cells, by which a test knows whether the outputs are those of the code."""
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return hashlib.sha256("\n".join(code).encode()).hexdigest()


def _outputs(said: str, value: Any, number: int, picture: Callable[[go.Figure], bytes] | None) -> list[dict[str, Any]]:
    outputs: list[dict[str, Any]] = []
    if said:
        outputs.append({"name": "stdout", "output_type": "stream", "text": said.splitlines(keepends=True)})
    if value is None:
        return outputs
    png = value._repr_png_() if hasattr(value, "_repr_png_") else None
    if isinstance(value, go.Figure):
        png = picture(value) if picture is not None else None
    data: dict[str, Any] = {"text/plain": [f"<{type(value).__name__}>"]}
    if png:
        data["image/png"] = base64.b64encode(png).decode()
    return [*outputs, {"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"}]


def drawn_in(driver: Any) -> Callable[[go.Figure], bytes]:
    """Draws figures in a browser, as PNG files."""
    script = (NOTEBOOK.parents[1] / "assets" / "plotly-cartesian.min.js").read_text(encoding="utf-8")
    driver.get("about:blank")
    driver.execute_script(f"{script}\n;window.Plotly = Plotly;")

    def picture(figure: go.Figure) -> bytes:
        draw = """
            const [figure, done] = arguments, place = document.createElement("div");
            document.body.append(place);
            Plotly.newPlot(place, figure.data, {...figure.layout, paper_bgcolor: "white"})
                .then(() => Plotly.toImage(place, {format: "png", width: figure.layout.width || 900,
                                                   height: figure.layout.height || 300}))
                .then((address) => { place.remove(); done(address); });
        """
        return base64.b64decode(driver.execute_async_script(draw, json.loads(figure.to_json())).split(",")[1])

    return picture


if __name__ == "__main__":
    from aevis_dash.pagespeed.chromium import open_browser

    os.chdir(NOTEBOOK.parent)
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    with open_browser() as browser:
        run(book["cells"], drawn_in(browser))
    book["metadata"]["ran"] = digest(book["cells"])
    NOTEBOOK.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"run: {NOTEBOOK}")
    sys.exit(0)
