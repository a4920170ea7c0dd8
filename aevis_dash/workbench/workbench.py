"""The analysis of one workspace: the parts of the workbench together, the example to open, and the warnings."""

from collections.abc import Sequence
from pathlib import Path

from aevis_dash.domain import JudgedExample
from aevis_dash.learning import Learning
from aevis_dash.workbench.attacks import Attacks
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workbench.contributions import Contributions
from aevis_dash.workbench.datapaths import Datapaths
from aevis_dash.workbench.flips import Flips
from aevis_dash.workbench.judging import Judging, by_nearness_to_medium
from aevis_dash.workbench.maps import FeatureMaps
from aevis_dash.workspace import Workspace

READY = 40
"""Examples among which one whose datapaths are stored is looked for."""


class Workbench(Part):
    """The analysis of one workspace, part by part; methods may run in several threads."""

    def __init__(self, workspace: Workspace):
        base = Base(workspace)
        super().__init__(base)
        self.judging = Judging(base)
        self.attacks = Attacks(base, self.judging)
        self.maps = FeatureMaps(base)
        self.datapaths = Datapaths(base, self.judging, self.maps)
        self.contributions = Contributions(base)
        self.flips = Flips(base, self.judging, self.contributions)
        self._learning: Learning | None = None

    @property
    def learning(self) -> Learning:
        """What the maps have learned from the workspace's normal images: the index that grows, and its work."""
        if self._learning is None or self._learning.store is not self.store:
            self._learning = Learning(self.workspace, self.store, self.classifier)
        return self._learning

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes answers about this workspace doubtful as a whole, a sentence each.

        The command line prints them and adds them to its documents, the page shows them as long as they hold.
        """
        own = self.classifier.warnings + self.base.tested.warnings + self.store.warnings
        return own + self.workspace.warnings + self.judging.warnings()

    def opening(self, examples: Sequence[JudgedExample]) -> JudgedExample | None:
        """The example to begin with: the workspace's own choice, else the misclassified one nearest the median score
        whose datapaths are stored, among the READY nearest; the one of median score where none of them has any."""
        wanted = self.workspace.settings.opens_on
        chosen = [e for e in examples if e.example.id == wanted]
        if chosen:
            return chosen[0]
        near = by_nearness_to_medium(examples)
        return next((e for e in near[:READY] if self.datapaths.is_ready(e.example)), near[0] if near else None)


def open_workbench(root: Path) -> Workbench:
    """The workbench of a workspace folder, where what killed writers left is swept."""
    bench = Workbench(Workspace(root))
    bench.workspace.sweep()
    bench.store.sweep()
    return bench
