"""Turning effects: how much each feature map of the network turns a wrong prediction back, all maps in a few passes.

The gates of a datapath say which maps, alone, keep a prediction (they *are needed*, as the page says). That is another
question than which maps *turn* the prediction. Both images need the maps that recognise an animal at all,
but what turned a panda into a monkey is only what differs between the two runs. So every map has a second number.

With adv's activation a_k(adv), src's a_k(src) and the margin M = logit[src's class] - logit[adv's class],

    e_k = mean over S points x of the line from adv to src of  <a_k(src) - a_k(adv), dM / da_k at x>.

It is attribution patching (gradient times difference) with the gradient averaged between the two images, as EAP-IG does
for the edges of circuits (Hanna et al., "Have Faith in Faithfulness", COLM 2024). A positive effect says that src's map
in adv's run speaks for src's class. The effects are of first order between the points: what patching a map really does
is measured by `core.intervention` and `core.flipback`.
"""

import numpy as np
import torch

from aevis_dash.config import ExtractionParameters, Progress, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.problem import Foil, Problem, margin
from aevis_dash.domain import Turning

POINTS = 8
"""The number S of points between the two images."""


def turning_effects(
    classifier: Classifier,
    adversarial: np.ndarray,
    source: np.ndarray,
    points: int = POINTS,
    progress: Progress = silent,
) -> Turning:
    """Estimate how much each of the n maps, put from src's run into adv's, turns the margin back to src's class.

    It takes a pass a point, whatever the number of layers.

    Args:
        classifier: the classifier that predicts the two images as different classes.
        adversarial: the 8-bit adversarial image, (1, H, W, C).
        source: the 8-bit source image, (1, H, W, C).
        points: the number S of points on the line between the two images.
        progress: is told how far the work is.

    Returns:
        The effects in logits, (n,), and how far the margins of the two images lie apart.
    """
    with torch.no_grad():
        logits = classifier.network.logits(classifier.inputs(np.concatenate([adversarial, source])))
    before, wanted = (int(label) for label in logits.argmax(1))
    problem = Problem(classifier, adversarial, [], ExtractionParameters(), [Foil(wanted, source[0])])
    _, effects = problem.integrated_effects(problem.contrast(), margin, points, progress)
    margins = logits[:, wanted] - logits[:, before]
    # `effects` asks what adv's maps do for adv's margin over src's class; both signs turn round, so it is the same
    return Turning(effects[0].cpu().numpy().astype(np.float32), float(margins[1] - margins[0]))
