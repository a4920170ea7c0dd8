"""Contribution analysis: which feature maps of an earlier layer made an area of a map, or the prediction, what it is.

The effect that is explained is either an area of interest, which is some neurons of one map, or the final prediction
(Sec. 5.4 of the paper, Eq. 7 and 8).
"""

from collections.abc import Sequence

import numpy as np
import torch

from aevis_dash.config import Progress, silent
from aevis_dash.core import contribution, flipback, receptive
from aevis_dash.core.contribution_problem import FoilRun, part_before
from aevis_dash.domain import (
    CONTRIBUTIONS,
    FOILS,
    PREDICTION,
    WHOLE_PREDICTION,
    AevisError,
    AreaOfInterest,
    Contribution,
    FeatureMap,
    Role,
    Way,
    area_of_neurons,
)
from aevis_dash.sight import one_sight
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workbench.judging import Judging
from aevis_dash.workbench.triplet import Triplet, stand_ins_of


class Contributions(Part):
    """`bench.contributions`: finds contributions of earlier maps, and checks and carries back the areas they are found
    for."""

    def __init__(self, base: Base, judging: Judging):
        super().__init__(base)
        self._judging = judging

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
        if not area.inside(layer).any():
            raise AevisError(
                f"The area of interest has no neuron of layer {layer.name!r}: the first row holds {layer.special} "
                "special tokens, such as the class token, and nothing else. Draw it anew."
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

    def check(self, target: FeatureMap, layer: int, way: Way) -> None:
        """Check a question before it is computed; nothing is run.

        Args:
            target: the map that is to be explained, or PREDICTION.
            layer: the index of the earlier layer whose maps are asked about.
            way: how contributions are to be found.

        Raises:
            AevisError: where there is no such method or foil, or the layer does not feed the target's layer.
        """
        self._check_way(way)
        part_before(self.classifier, layer, target)

    def find_stored(
        self, triplet: Triplet, target: FeatureMap, area: AreaOfInterest, layer: int, way: Way
    ) -> Contribution | None:
        """The result of `contribute` for the same arguments where it is stored, None otherwise. Nothing is computed."""
        return self.store.get(self.key_of_contribution(triplet, target, area, layer, way), Contribution)

    @one_sight()
    def contribute(
        self,
        triplet: Triplet,
        target: FeatureMap,
        area: AreaOfInterest,
        layer: int,
        way: Way,
        progress: Progress = silent,
    ) -> Contribution:
        """Find how much each map of an earlier layer contributes to an area of a map or to the prediction (Eq. 7, 8).

        The source, the adversarial and the target image are solved jointly, each with gates of its own. The parameters
        are those of the workspace's settings.

        Args:
            triplet: the example's images, by role.
            target: the map that is explained, or PREDICTION.
            area: the neurons of the target that are explained, or WHOLE_PREDICTION.
            layer: the index of the earlier layer, whose maps get the gates.
            way: the method, and the foil that maps are moved towards.
            progress: is told the share of the work that is done.

        Returns:
            The contributions, from the store where they are stored. The rows of their arrays follow the order of
            `Role`: source, adversarial, target.

        Raises:
            ValueError: where the area lies in another layer than the target.
            AevisError: for an unknown method or foil, an area that leaves its layer, or a layer that does not feed the
                target's.
        """
        if area.layer != target.layer:
            raise ValueError("the area of interest must lie in the target map's layer")
        self._check_way(way)
        self.check_area(area)
        key = self.key_of_contribution(triplet, target, area, layer, way)
        parameters = self.workspace.settings.contribution

        def compute() -> Contribution:
            images = self.workspace.read([triplet.image(role) for role in Role])
            foil = self._foil_run(triplet, way.foil, layer)
            return contribution.contribute(
                self.classifier, images, target, area, layer, parameters, progress, way.method, foil
            )

        return self.store.remember(key, Contribution, compute)

    @one_sight()
    def against_others(
        self, triplet: Triplet, target: FeatureMap, area: AreaOfInterest, layer: int, others: Sequence[str]
    ) -> Contribution:
        """Find the contributions on adv to first order, against each of some images in src's place.

        Args:
            triplet: the example's images, by role.
            target: the map that is explained, or PREDICTION, which is told from src's class.
            area: the neurons of the target that are explained, or WHOLE_PREDICTION.
            layer: the index of the earlier layer.
            others: the file names of the other images.

        Returns:
            The contributions, with a row for each other image; from the store where they are stored.
        """
        example, hashes = triplet.plan.example, self.workspace.image_hash
        key = self.key(
            "contribution",
            images=[hashes(example.adversarial)],
            target=target,
            area=area,
            layer=layer,
            against=[triplet.plan.source_label, *map(hashes, others)],
            parameters=self.workspace.settings.contribution.sparsity,
        )

        def compute() -> Contribution:
            images, labels = self.workspace.read(others), [triplet.plan.source_label] * len(others)
            foil = FoilRun("source", self._activation(images, layer), self._labels(labels))
            adv = self.workspace.read([example.adversarial] * len(others))
            parameters = self.workspace.settings.contribution
            return contribution.contribute(
                self.classifier, adv, target, area, layer, parameters, method="quadratic", foil=foil
            )

        return self.store.remember(key, Contribution, compute)

    def key_of_contribution(
        self, triplet: Triplet, target: FeatureMap, area: AreaOfInterest, layer: int, way: Way
    ) -> str:
        """The store's key of what `contribute` finds for these arguments."""
        parameters, hashes = self.workspace.settings.contribution, self.workspace.image_hash
        used = {"solved": parameters, "quadratic": parameters.sparsity}.get(way.method)
        return self.key(
            "contribution",
            images=[hashes(triplet.image(role)) for role in Role],
            target=target,
            area=area,
            layer=layer,
            method=way.method,
            foil=[way.foil if way.foil in FOILS else "", *map(hashes, self._foil_images(triplet, way.foil))],
            parameters=used,
        )

    def _foil_images(self, triplet: Triplet, foil: str) -> tuple[str, ...]:
        """The images that a foil is made of: one for each role, those of a mean, or the one that was named."""
        example = triplet.plan.example
        if foil == "zero":
            return ()
        if foil == "source":
            return tuple(example.adversarial if role is Role.SOURCE else example.source for role in Role)
        if foil != "mean":
            return (foil,)
        taken = {triplet.plan.source_label, triplet.plan.adversarial_label}
        return stand_ins_of(self._judging.clean(), example, taken, "mean")

    def _foil_run(self, triplet: Triplet, foil: str, layer: int) -> FoilRun | None:
        names = self._foil_images(triplet, foil)
        if not names:
            return None
        images, own = self.workspace.read(names), [triplet.path(role).label for role in Role]
        if foil == "mean":
            activation, labels = flipback.stand_in(self.classifier, images, layer, "mean"), own
        else:
            activation = self._activation(images, layer)
            labels = [prediction.label for prediction in self._judging.predict(names)]
        count = len(own)
        if len(activation) == 1:
            activation = activation.expand(count, *activation.shape[1:])
        return FoilRun(foil, activation, self._labels((labels * count)[:count]))

    def _activation(self, images: np.ndarray, layer: int) -> torch.Tensor:
        with torch.no_grad():
            return self.classifier.network.activation(self.classifier.inputs(images), layer)

    def _labels(self, labels: Sequence[int]) -> torch.Tensor:
        return torch.tensor(labels, device=self.classifier.device)

    def _check_way(self, way: Way) -> None:
        if way.method not in CONTRIBUTIONS:
            raise AevisError(f"There are no {way.method!r} contributions. Choose one of: {', '.join(CONTRIBUTIONS)}.")
        if way.foil not in FOILS and way.foil not in self.workspace.image_places:
            raise AevisError(
                f"There is no foil {way.foil!r}. Choose one of: {', '.join(FOILS)}; or a normal image of images.csv."
            )
