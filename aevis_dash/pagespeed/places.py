"""What a visitor may click in a network: the layers with critical maps, and the groups that must stand open for
them."""

from collections.abc import Sequence

import numpy as np

from aevis_dash.domain import Role
from aevis_dash.geometry.dag import groups
from aevis_dash.workbench import Workbench


def critical_layers(bench: Workbench, example: str) -> list[int]:
    """The indices of the layers in which adv has critical maps; none where the example's datapaths are not stored."""
    found = bench.datapaths.triplet(example)
    critical = found.path(Role.ADVERSARIAL).critical if found is not None else np.zeros(bench.layers.n_maps, bool)
    return [layer.index for layer in bench.layers.layers if bench.layers.part(critical, layer.index).any()]


def groups_around(bench: Workbench, layers: Sequence[int]) -> list[str]:
    """The names of the innermost groups that hold these layers. Opening one of them opens those around it."""
    tree = groups(bench.layers)
    holding = [[group for group in tree if group.holds(layer, layer)] for layer in layers]
    return list(dict.fromkeys(max(found, key=lambda group: group.level).name for found in holding if found))
