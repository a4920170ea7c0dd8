"""The bench's figure: read from fig.data."""

import pytest

from aevis_dash.core.evaluation import Estimate
from aevis_dash.figures.bench import bench_figure

LINES = {"core": "the core", "causal": "agreement"}
METHODS = {
    "ours": {"core": Estimate(0.1, 0.05, 0.3, 9), "causal": Estimate(0.7, 0.6, 0.8, 9)},
    "theirs": {"core": Estimate(0.2, 0.2, 0.2, 9), "causal": Estimate(0.1, -0.1, 0.2, 9)},
}


def test_every_method_has_its_estimate_and_interval_in_every_panel():
    figure = bench_figure(METHODS, LINES)
    assert [a.text for a in figure.layout.annotations] == ["the core", "agreement"]
    for trace, line in zip(figure.data, LINES, strict=True):
        for i, name in enumerate(METHODS):
            estimate = METHODS[name][line]
            assert trace.y[i] == name
            assert trace.x[i] == estimate.mean
            assert trace.x[i] + trace.error_x.array[i] == pytest.approx(estimate.high)
            assert trace.x[i] - trace.error_x.arrayminus[i] == pytest.approx(estimate.low)


def test_the_default_stands_out():
    colours = bench_figure(METHODS, LINES).data[0].marker.color
    assert colours[0] != colours[1]
