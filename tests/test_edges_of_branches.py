"""`aevis trail` lists edges between stages of which one feeds the other, also where stages lie side by side."""

from types import SimpleNamespace

from aevis_dash.cli import edges
from aevis_dash.config import silent


def test_stages_side_by_side_each_begin_at_the_nearest_that_feeds_them(monkeypatch):
    """Stage 0 feeds the branches 2 and 5, which do not feed one another, and both feed stage 7."""
    feeding = {0: (), 2: (1, 0), 5: (4, 3, 0), 7: (6, 5, 4, 3, 2, 1, 0)}
    asked = []
    bench = SimpleNamespace(
        flips=SimpleNamespace(depths=lambda: (0, 2, 5, 7), edges=lambda *ends: asked.append(ends)),
        layers=SimpleNamespace(layers=[SimpleNamespace(name=str(i)) for i in range(8)]),
        contributions=SimpleNamespace(sources=feeding.get),
    )
    monkeypatch.setattr(
        edges, "edges_document", lambda bench, example, earlier, later, found: (earlier.name, later.name)
    )
    assert edges.edges_between_depths(bench, "panda", silent) == [("5", "7"), ("0", "5"), ("0", "2")]
    assert asked == [("panda", 5, 7), ("panda", 0, 5), ("panda", 0, 2)]
