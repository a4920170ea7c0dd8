"""Contribution analysis: which feature maps of an earlier layer made an area of a map, or the prediction, what it is.

The effect that is explained is either an area of interest, which is some neurons of one map, or the final prediction
(Sec. 5.4 of the paper, Eq. 7 and 8).
"""

from aevis_dash.config import Progress, silent
from aevis_dash.core import contribution, receptive
from aevis_dash.domain import (
    CONTRIBUTIONS,
    PREDICTION,
    WHOLE_PREDICTION,
    AevisError,
    AreaOfInterest,
    Contribution,
    FeatureMap,
    Role,
    area_of_neurons,
)
from aevis_dash.workbench.base import Part
from aevis_dash.workbench.triplet import Triplet
from aevis_dash.workspace import one_sight


class Contributions(Part):
    """`bench.contributions`: finds contributions of earlier maps, and checks and carries back the areas they are found
    for."""

    def check_area(self, area: AreaOfInterest) -> None:
        """Check that an area of interest lies inside its layer and names at least one neuron.

        Raises:
            AevisError: where the rectangle is empty or leaves its layer, or where the picked places are not ascending
                places of the rectangle.
        """
        if area == WHOLE_PREDICTION:
            return
        layer = self.layers.layers[area.layer]
        if not (0 <= area.top < area.bottom <= layer.height and 0 <= area.left < area.right <= layer.width):
            raise AevisError(
                f"The area of interest is empty or lies outside layer {layer.name!r}, which has {layer.height} rows "
                f"and {layer.width} columns. Draw it anew."
            )
        places = (area.bottom - area.top) * (area.right - area.left)
        if list(area.picked) != sorted(set(area.picked)) or not all(0 <= p < places for p in area.picked):
            raise AevisError(f"The chosen neurons are no places of a rectangle of {places}. Choose them anew.")

    def carry(self, area: AreaOfInterest, layer: int) -> AreaOfInterest | None:
        """The neurons of an earlier layer that feed an area, as an area of that layer.

        Args:
            area: the area of interest of a later layer, or WHOLE_PREDICTION.
            layer: the index of the earlier layer.

        Returns:
            The area of the neurons inside the receptive field of `area`; the whole layer for WHOLE_PREDICTION; None
            where the layer does not feed the area's layer.
        """
        extent = self.layers.layers[layer]
        if area == WHOLE_PREDICTION:
            return AreaOfInterest(layer, 0, 0, extent.height, extent.width)
        if layer not in self.sources(area.layer):
            return None
        return area_of_neurons(layer, receptive.neurons_that_feed(self.classifier.network.traced, area, layer).numpy())

    def sources(self, layer: int) -> tuple[int, ...]:
        """The earlier layers that feed a layer, directly or through others, nearest first.

        Args:
            layer: the index of a layer, or PREDICTION.layer for the final prediction, which all layers are taken to
                feed.
        """
        if layer == PREDICTION.layer:
            return tuple(range(len(self.layers)))[::-1]
        feeding, queue = set(), [layer]
        while queue:
            later = queue.pop()
            new = {a for a, b in self.layers.edges if b == later} - feeding
            feeding |= new
            queue.extend(new)
        return tuple(sorted(feeding, reverse=True))

    def check(self, target: FeatureMap, layer: int, method: str) -> None:
        """Check a question before it is computed; nothing is run.

        Args:
            target: the map that is to be explained, or PREDICTION.
            layer: the index of the earlier layer whose maps are asked about.
            method: how contributions are to be found.

        Raises:
            AevisError: where `method` is not one of CONTRIBUTIONS, or the layer does not feed the target's layer.
        """
        _check_way(method)
        contribution.part_before(self.classifier, layer, target)

    def find_stored(
        self, triplet: Triplet, target: FeatureMap, area: AreaOfInterest, layer: int, method: str = "solved"
    ) -> Contribution | None:
        """The result of `contribute` for the same arguments where it is stored, None otherwise. Nothing is computed."""
        return self.store.get(self.key_of_contribution(triplet, target, area, layer, method), Contribution)

    @one_sight()
    def contribute(
        self,
        triplet: Triplet,
        target: FeatureMap,
        area: AreaOfInterest,
        layer: int,
        progress: Progress = silent,
        method: str = "solved",
    ) -> Contribution:
        """Find how much each map of an earlier layer contributes to an area of a map or to the prediction (Eq. 7, 8).

        The source, the adversarial and the target image are solved jointly, each with gates of its own. The parameters
        are those of the workspace's settings.

        Args:
            triplet: the example's images, by role.
            target: the map that is explained, or PREDICTION.
            area: the neurons of the target that are explained, or WHOLE_PREDICTION.
            layer: the index of the earlier layer, whose maps get the gates.
            progress: is told the share of the work that is done.
            method: one of CONTRIBUTIONS: "solved", "quadratic" or "exact".

        Returns:
            The contributions, from the store where they are stored. The rows of their arrays follow the order of
            `Role`: source, adversarial, target.

        Raises:
            ValueError: where the area lies in another layer than the target.
            AevisError: for an unknown method, an area that leaves its layer, or a layer that does not feed the
                target's.
        """
        if area.layer != target.layer:
            raise ValueError("the area of interest must lie in the target map's layer")
        _check_way(method)
        self.check_area(area)
        key = self.key_of_contribution(triplet, target, area, layer, method)
        parameters = self.workspace.settings.contribution

        def compute() -> Contribution:
            images = self.workspace.read([triplet.image(role) for role in Role])
            return contribution.contribute(self.classifier, images, target, area, layer, parameters, progress, method)

        return self.store.remember(key, Contribution, compute)

    def key_of_contribution(
        self, triplet: Triplet, target: FeatureMap, area: AreaOfInterest, layer: int, method: str
    ) -> str:
        """The store's key of what `contribute` finds for these arguments."""
        parameters = self.workspace.settings.contribution
        return self.key(
            "contribution",
            images=[self.workspace.image_hash(triplet.image(role)) for role in Role],
            target=target,
            area=area,
            layer=layer,
            method=method,
            parameters=[2, parameters]
            if method == "solved"
            else [2, parameters.sparsity if method == "quadratic" else None],
        )


def _check_way(method: str) -> None:
    if method not in CONTRIBUTIONS:
        raise AevisError(f"There are no {method!r} contributions. Choose one of: {', '.join(CONTRIBUTIONS)}.")
