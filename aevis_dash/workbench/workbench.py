"""The analysis of one workspace: the parts of the workbench together, the example to open, and the warnings."""

from collections.abc import Sequence
from pathlib import Path

from aevis_dash.core import loading
from aevis_dash.core.loading import Model
from aevis_dash.domain import JudgedExample
from aevis_dash.learning import Learning
from aevis_dash.naming import Naming
from aevis_dash.workbench.attacks import Attacks
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workbench.contributions import Contributions
from aevis_dash.workbench.datapaths import Datapaths
from aevis_dash.workbench.flips import Flips
from aevis_dash.workbench.imports import Imports
from aevis_dash.workbench.judging import Judging
from aevis_dash.workbench.maps import FeatureMaps
from aevis_dash.workbench.opening import by_nearness_to_medium
from aevis_dash.workspace import Workspace

READY = 40
"""The number of examples among which one with stored datapaths is looked for."""


class Workbench(Part):
    """The analysis of one workspace, with a part for each kind of question. Its methods may run in several threads.

    Attributes:
        judging: predictions, adversarial scores, and which pairs are attacks.
        attacks: attacks on normal images.
        imports: adversarial images of other tools become examples.
        maps: activations and receptive fields of feature maps.
        datapaths: extraction of datapaths, and the distances between them.
        contributions: which earlier maps made an area, or the prediction, what it is.
        flips: replacing maps in a run, and what that does to the prediction.
    """

    def __init__(self, workspace: Workspace, model: Model | None = None):
        base = Base(workspace, model)
        super().__init__(base)
        self.judging = Judging(base)
        self.attacks = Attacks(base, self.judging)
        self.imports = Imports(base, self.judging)
        self.maps = FeatureMaps(base)
        self.datapaths = Datapaths(base, self.judging, self.maps)
        self.contributions = Contributions(base, self.judging)
        self.flips = Flips(base, self.judging, self.contributions)
        self._learning: Learning | None = None
        self._naming: tuple[Learning, Naming] | None = None

    @property
    def learning(self) -> Learning:
        """What the maps have learned from the workspace's normal images: an index that grows as more images are looked
        at."""
        if self._learning is None or self._learning.store is not self.store:
            self._learning = Learning(self.workspace, self.store, self.classifier)
        return self._learning

    @property
    def naming(self) -> Naming:
        """The names of the maps: the classes that they speak for and against, what fires them, and their parts."""
        learning, known = self.learning, self._naming
        if known is None or known[0] is not learning:
            known = self._naming = (learning, Naming(self.workspace, self.store, self.classifier, learning))
        return known[1]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what makes answers about this workspace doubtful as a whole.

        The command line prints them and adds them to its documents. The page shows each as long as it holds.
        """
        own = self.classifier.warnings + self.base.tested.warnings + self.store.warnings
        own += loading.doubted_normaliser(self.base.loaded, self.workspace.settings.preprocessing)
        return own + self.workspace.warnings + self.judging.warnings()

    def opening(self, examples: Sequence[JudgedExample]) -> JudgedExample | None:
        """The example that the page and the command line begin with; None where no example is misclassified.

        It is the one that workspace.toml names, where `examples` has it. Otherwise it is a misclassified example whose
        score is near the median: the nearest whose datapaths are stored, among the READY nearest, or the nearest of
        all.
        """
        wanted = self.workspace.settings.opens_on
        chosen = [e for e in examples if e.example.id == wanted]
        if chosen:
            return chosen[0]
        near = by_nearness_to_medium(examples)
        return next((e for e in near[:READY] if self.datapaths.is_ready(e.example)), near[0] if near else None)


def open_workbench(root: Path, model: Model | None = None) -> Workbench:
    """Open the workspace in a folder and give its workbench; unfinished files that killed processes left are removed.

    Args:
        root: the folder of the workspace.
        model: the model, where Python code hands it over; None to load the one that the workspace names.

    Raises:
        AevisError: where the workspace's settings, classes or tables cannot be read.
    """
    bench = Workbench(Workspace(root), model)
    bench.workspace.sweep()
    bench.store.sweep()
    return bench
