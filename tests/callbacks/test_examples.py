"""The slider of scores begins where there is something to see."""

import numpy as np
import pytest

from aevis_dash.callbacks.examples import FEW, in_range, score_range
from aevis_dash.workbench import open_workbench


@pytest.mark.parametrize("count", [0, 1, FEW - 1, FEW])
def test_the_slider_begins_at_the_middle_half_and_at_all_of_few(drawn_world, monkeypatch, count):
    bench = open_workbench(drawn_world)
    fooled = [e for e in bench.judged_examples() if e.misclassified and np.isfinite(e.score)][:count]
    monkeypatch.setattr(bench, "judged_examples", lambda: fooled)
    found = score_range(bench)
    seen = [e for e in fooled if in_range(e, list(found.start))]
    assert len(seen) == (count if count < FEW else FEW // 2)
