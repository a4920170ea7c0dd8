"""Which earlier feature maps made an area of a map, or the prediction, what it is."""

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
    """Contributions of earlier maps, and the areas that they are found for."""

    def check_area(self, area: AreaOfInterest) -> None:
        """Raise AevisError where an area of interest leaves its layer."""
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
        """The neurons of an earlier layer that feed an area's, its whole for the prediction's; None where none does."""
        extent = self.layers.layers[layer]
        if area == WHOLE_PREDICTION:
            return AreaOfInterest(layer, 0, 0, extent.height, extent.width)
        if layer not in self.sources(area.layer):
            return None
        return area_of_neurons(layer, receptive.neurons_that_feed(self.classifier.network.traced, area, layer).numpy())

    def sources(self, layer: int) -> tuple[int, ...]:
        """The earlier layers that feed a layer, or the final prediction, nearest first."""
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
        """Raise AevisError for an unknown method, or a layer that does not feed the target's; nothing is computed."""
        _check_way(method)
        contribution.part_before(self.classifier, layer, target)

    def find_stored(
        self, triplet: Triplet, target: FeatureMap, area: AreaOfInterest, layer: int, method: str = "solved"
    ) -> Contribution | None:
        """The contributions where they are stored already."""
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
        """Contributions of an earlier layer's maps to an area of a map, or to the PREDICTION, jointly for source,
        adversarial and target; `method` is one of CONTRIBUTIONS.

        The rows of the result follow the order of Role: source, adversarial, target.
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
