"""What the feature maps do on an image: their activations, and the pixels that their neurons see.

n_l is the number of feature maps of layer l, n that of the network; H_l and W_l are a layer's height and width in
neurons.
"""

from dataclasses import dataclass

import numpy as np

from aevis_dash.core import features, receptive
from aevis_dash.domain import AreaOfInterest, FeatureMap, LearnedFeatures, Role, area_of_neurons
from aevis_dash.float_images import eight_bit
from aevis_dash.sight import one_sight
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workbench.triplet import Triplet


@dataclass(frozen=True)
class Maxima:
    """The activation of every map on one image, as it is stored.

    Attributes:
        values: the maximum of each map over its positions, float32 (n,).
    """

    values: np.ndarray


@dataclass(frozen=True)
class Maps:
    """The activation maps of one layer on one image, as they are stored.

    Attributes:
        values: float16 (n_l, H_l, W_l).
    """

    values: np.ndarray


class FeatureMaps(Part):
    """`bench.maps`: the activations of the feature maps, and the receptive fields of their neurons."""

    def __init__(self, base: Base):
        super().__init__(base)
        self._fields: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    @one_sight()
    def maxima(self, name: str) -> np.ndarray:
        """The activation of every map on an image, float32 (n,): its maximum over positions (Sec. 5.3 of the paper)."""
        key = self.key("maxima", image=self.workspace.image_hash(name))
        compute = lambda: Maxima(features.maximum_activations(self.classifier, self.workspace.read([name]))[0])  # noqa: E731
        return self.store.remember(key, Maxima, compute).values

    @one_sight()
    def activation_maps(self, name: str, layer: int) -> np.ndarray:
        """The activation maps of a layer on an image, float16 (n_l, H_l, W_l), NaN at places without a
        neuron.

        Args:
            name: the file name of the image, as the tables give it.
            layer: the index of the layer.
        """
        key = self.key("maps", image=self.workspace.image_hash(name), layer=layer)
        compute = lambda: Maps(features.activation_maps(self.classifier, self.workspace.read([name]), layer)[0])  # noqa: E731
        return self.store.remember(key, Maps, compute).values

    @one_sight()
    def difference(self, triplet: Triplet, layer: int, first: Role, second: Role) -> np.ndarray:
        """The activation of each map of a layer on one role's image minus that on another role's image, (n_l,).

        Args:
            triplet: the example's images, by role.
            layer: the index of the layer.
            first: the role whose activations count positive.
            second: the role whose activations are subtracted.
        """
        difference = self.maxima(triplet.image(first)) - self.maxima(triplet.image(second))
        return self.layers.part(difference, layer)

    def role_of(self, triplet: Triplet, chosen: FeatureMap, first: Role | None = None) -> Role:
        """The role on whose image a map is looked at first.

        It is the first role, in the order `first`, adv, src, tar, whose datapath needs the map to fire and on whose
        image it fires. There may be no such role. Then it is `first` where the map fires on that image and no datapath
        needs the map, and otherwise the role on whose image the map fires most. It is adv where the map fires on no
        image.

        Args:
            triplet: the example's datapaths and images, by role.
            chosen: the feature map.
            first: the role that is preferred; None for none.
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
        """The neurons of a map that fire most on an image.

        Args:
            name: the file name of the image.
            chosen: the feature map.
            count: the number of neurons at most; neurons that do not fire are left out.

        Returns:
            Their area, or None where no neuron of the map fires on the image.
        """
        values = self.activation_maps(name, chosen.layer)[chosen.channel]
        order = np.argsort(-values.ravel(), kind="stable")[:count]
        firing = np.zeros(values.size, bool)
        firing[order[values.ravel()[order] > 0]] = True
        return area_of_neurons(chosen.layer, firing.reshape(values.shape))

    def receptive_field(self, area: AreaOfInterest) -> AreaOfInterest:
        """The rectangle of input pixels that can move an area of interest, as an area whose `layer` is -1."""
        return receptive.field_of(self.receptive_fields(area.layer), area)

    def receptive_fields(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """The input pixels that can move each neuron of a layer, as half-open ranges.

        Returns:
            The first pixel row and the one past the last for each row of neurons, (H_l, 2); and the same in pixel
            columns for each column of neurons, (W_l, 2). A neuron's field is that of its row and that of its column
            together.
        """
        if layer not in self._fields:
            self._fields[layer] = receptive.fields_on_image(self.classifier.network.traced, layer)
        return self._fields[layer]

    def seen_by(self, name: str, layer: int, row: int, col: int) -> np.ndarray:
        """The part of an image that one neuron sees, its receptive field: 8 bit (h, w, C).

        Args:
            name: the file name of the image.
            layer: the index of the neuron's layer.
            row: the neuron's row in the layer.
            col: the neuron's column in the layer.
        """
        rows, columns = self.receptive_fields(layer)
        (top, bottom), (left, right) = rows[row], columns[col]
        return eight_bit(self.workspace.read([name])[0][top:bottom, left:right])

    def crop(self, learned: LearnedFeatures, chosen: FeatureMap, rank: int) -> np.ndarray | None:
        """The patch of a reference image that is one of a map's learned features: 8 bit (h, w, C).

        Args:
            learned: the best patches of all n maps.
            chosen: the feature map.
            rank: the place of the patch in the map's order, 0 for the best.

        Returns:
            What the neuron that fires there sees of the image; None where the map has no patch of this rank.
        """
        found = learned.neuron(self.layers.place(chosen), rank)
        if found is None:
            return None
        image, row, col = found
        return self.seen_by(self.workspace.images[image].file, chosen.layer, row, col)
