"""Tells on which of the three images a map is traced: on one whose prediction needs the map to fire there."""

from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.domain import Role
from aevis_dash.workbench import Workbench


def traced_on(bench: Workbench, view: View) -> Role:
    """The role on whose image the view's map is traced; adv where no map is shown.

    It is the role on whose image the area was chosen. Without such an area, it is the role on whose image the shown
    layer was traced to, where the map serves there; else the role that the map's own sets name (`FeatureMaps.role_of`).
    """
    if view.on:
        return Role(view.on)
    found = stored_triplet(bench, view)
    if found is None or view.layer is None or view.map is None:
        return Role.ADVERSARIAL
    before = Role(view.traced.on) if view.traced is not None else None
    return bench.maps.role_of(found, bench.layers.feature_map(view.layer, view.map), before)
