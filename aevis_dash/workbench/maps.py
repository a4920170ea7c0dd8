"""What the feature maps do on an image: activations, and the pixels that they see."""

from dataclasses import dataclass

import numpy as np

from aevis_dash.core import features, receptive
from aevis_dash.domain import AreaOfInterest, FeatureMap, LearnedFeatures, Role, area_of_neurons
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workbench.triplet import Triplet
from aevis_dash.workspace import one_sight


@dataclass(frozen=True)
class Maxima:
    """`values` (n,), the activation of every map on one image: its maximum over positions."""

    values: np.ndarray


@dataclass(frozen=True)
class Maps:
    """`values` (n_l, H_l, W_l), the activation maps of one layer on one image."""

    values: np.ndarray


class FeatureMaps(Part):
    """The activations of the feature maps, and their neurons' receptive fields."""

    def __init__(self, base: Base):
        super().__init__(base)
        self._fields: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    @one_sight()
    def maxima(self, name: str) -> np.ndarray:
        """(n,) the activation of every map on an image."""
        key = self.key("maxima", image=self.workspace.image_hash(name))
        compute = lambda: Maxima(features.maximum_activations(self.classifier, self.workspace.read([name]))[0])  # noqa: E731
        return self.store.remember(key, Maxima, compute).values

    @one_sight()
    def activation_maps(self, name: str, layer: int) -> np.ndarray:
        """(n_l, H_l, W_l) the activation maps of a layer on an image."""
        key = self.key("maps", image=self.workspace.image_hash(name), layer=layer)
        compute = lambda: Maps(features.activation_maps(self.classifier, self.workspace.read([name]), layer)[0])  # noqa: E731
        return self.store.remember(key, Maps, compute).values

    @one_sight()
    def difference(self, triplet: Triplet, layer: int, first: Role, second: Role) -> np.ndarray:
        """(n_l,) activation of each map of a layer on one role's image minus that on another's."""
        difference = self.maxima(triplet.image(first)) - self.maxima(triplet.image(second))
        return self.layers.part(difference, layer)

    def role_of(self, triplet: Triplet, chosen: FeatureMap, first: Role | None = None) -> Role:
        """The role on whose image a map is looked at first.

        One whose datapath needs the map to fire, and on whose image it does: `first` where that is such a role, then
        adv, src and tar. Where there is none (no datapath needs the map, or one needs it to fire less), `first` if no
        datapath needs it and it fires there, else the role on whose image it fires most; adv where it never fires.
        """
        place = self.layers.place(chosen)
        fires = {role: float(self.maxima(triplet.image(role))[place]) for role in Role}
        order = dict.fromkeys(filter(None, (first, Role.ADVERSARIAL, Role.SOURCE, Role.TARGET)))
        paths = {role: triplet.path(role) for role in order}
        needing = (r for r, p in paths.items() if p.critical[place] and p.supports[place] and fires[r] > 0)
        if (found := next(needing, None)) is not None:
            return found
        if first is not None and fires[first] > 0 and not any(path.critical[place] for path in paths.values()):
            return first
        return max(order, key=fires.__getitem__) if max(fires.values()) > 0 else Role.ADVERSARIAL

    def most_active(self, name: str, chosen: FeatureMap, count: int) -> AreaOfInterest | None:
        """The `count` neurons of a map that fire most on an image; None where none does."""
        values = self.activation_maps(name, chosen.layer)[chosen.channel]
        grid = values.reshape(1, -1) if values.ndim < 2 else values
        order = np.argsort(-grid.ravel(), kind="stable")[:count]
        firing = np.zeros(grid.size, bool)
        firing[order[grid.ravel()[order] > 0]] = True
        return area_of_neurons(chosen.layer, firing.reshape(grid.shape))

    def receptive_field(self, area: AreaOfInterest) -> AreaOfInterest:
        """The rectangle of input pixels that can move an area of interest."""
        return receptive.field_of(self.receptive_fields(area.layer), area)

    def receptive_fields(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """The input pixels that can move each neuron of a layer, first and one past the last, of its row (H, 2) and of
        its column (W, 2)."""
        if layer not in self._fields:
            self._fields[layer] = receptive.fields_on_image(self.classifier.network.traced, layer)
        return self._fields[layer]

    def seen_by(self, name: str, layer: int, row: int, col: int) -> np.ndarray:
        """The part (h, w, 3) of an image that the neuron at that position of a layer sees: its receptive field."""
        rows, columns = self.receptive_fields(layer)
        (top, bottom), (left, right) = rows[row], columns[col]
        return self.workspace.read([name])[0][top:bottom, left:right]

    def crop(self, learned: LearnedFeatures, chosen: FeatureMap, rank: int) -> np.ndarray | None:
        """What the neuron sees of the image of that rank, 8 bit (h, w, 3); None where there is no such image."""
        found = learned.neuron(self.layers.place(chosen), rank)
        if found is None:
            return None
        image, row, col = found
        return self.seen_by(self.workspace.images[image].file, chosen.layer, row, col)
