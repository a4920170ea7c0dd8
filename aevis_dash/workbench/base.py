"""What every part of the workbench has at hand: the workspace, its store and its classifier."""

import threading
from functools import cached_property

from aevis_dash.core import loading, selftest
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.selftest import SelfTest
from aevis_dash.domain import LayerGraph
from aevis_dash.store import Store, key_of
from aevis_dash.workspace import Workspace

VERSIONS = {
    "attack": 4,
    "contribution": 4,
    "datapath": 5,
    "effects": 4,
    "judgement": 4,
    "maps": 4,
    "maxima": 4,
    "references": 1,
    "verification": 5,
}
"""Of every kind of result that the parts of the workbench keep. A kind's is raised when the results of that kind change
for the same parameters; all other kinds stay."""


class Base:
    """The workspace, the store of its results and the classifier; methods may run in several threads."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.store = Store(workspace.cache)
        self._loading = threading.Lock()

    @property
    def classifier(self) -> Classifier:
        """The workspace's classifier; raises AevisError where it cannot be loaded or fails its self-test."""
        with self._loading:
            return self._classifier

    @cached_property
    def _classifier(self) -> Classifier:
        model = loading.load_model(self.workspace.model).to(loading.device())
        found = Classifier(model, self.workspace.settings.preprocessing, self.workspace.class_names)
        key = key_of("selftest", selftest.VERSION, model=found.fingerprint, device=found.device.type)

        def tested() -> SelfTest:
            loading.refuse_random(self.workspace.model, model)
            return selftest.examine(model, found)

        self._tested = self.store.remember(key, SelfTest, tested)
        return found

    @property
    def tested(self) -> SelfTest:
        """What trying the classifier found."""
        _ = self.classifier
        return self._tested

    def key(self, kind: str, **parts: object) -> str:
        """The key of a result of that kind (one of VERSIONS), computed by the classifier from `parts`."""
        return key_of(kind, VERSIONS[kind], model=self.classifier.fingerprint, **parts)


class Part:
    """A part of the workbench, with what it stands on."""

    def __init__(self, base: Base):
        self.base = base

    @property
    def workspace(self) -> Workspace:
        return self.base.workspace

    @property
    def store(self) -> Store:
        return self.base.store

    @property
    def classifier(self) -> Classifier:
        """The workspace's classifier; raises AevisError where it cannot be loaded or fails its self-test."""
        return self.base.classifier

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.workspace.class_names

    @property
    def layers(self) -> LayerGraph:
        return self.classifier.layers

    def key(self, kind: str, **parts: object) -> str:
        """The key of a result of that kind, computed by the classifier from `parts`."""
        return self.base.key(kind, **parts)
