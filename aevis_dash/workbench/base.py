"""What all parts of the workbench share: the workspace, the store of its results, and its classifier.

Every kind of result has a version number. It is part of the key under which a result is stored, so raising it makes
older results of that kind unreachable. VERSIONS holds the numbers of those kinds whose keys `Base.key` makes; the
others stand beside the code that computes them, and docs/architecture.md lists them all.
"""

import threading
from functools import cached_property

from aevis_dash.core import loading, selftest
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.loading import Loaded, Model
from aevis_dash.core.selftest import SelfTest
from aevis_dash.domain import LayerGraph
from aevis_dash.store import Store, key_of
from aevis_dash.workspace import Workspace

VERSIONS = {
    "attack": 4,
    "contribution": 6,
    "datapath": 6,
    "edges": 3,
    "effects": 4,
    "judgement": 4,
    "maps": 4,
    "maxima": 4,
    "references": 1,
    "turning": 1,
    "verification": 7,
}
"""The version of each kind of result whose key `Base.key` makes. It is raised when a change of the code changes the
results of that kind for the same parameters; stored results of all other kinds stay valid."""


class Base:
    """The workspace, its store and its classifier, shared by all parts of one workbench. Its methods may run in several
    threads.

    Args:
        workspace: the open workspace; the store is its `cache` folder.
        model: the model, where Python code hands it over; None to load the one that the workspace names.
    """

    def __init__(self, workspace: Workspace, model: Model | None = None):
        self.workspace, self._given = workspace, model
        self.store = Store(workspace.cache, quota=workspace.settings.store.most)
        self._loading = threading.Lock()

    @property
    def classifier(self) -> Classifier:
        """The workspace's classifier, which is loaded and tested at the first call.

        Raises:
            AevisError: where the model cannot be loaded or fails its self-test.
        """
        with self._loading:
            return self._classifier

    @cached_property
    def _classifier(self) -> Classifier:
        spec = self.workspace.model
        self._loaded = loading.load_model(spec) if self._given is None else loading.given_model(spec, self._given)
        model = self._loaded.model.to(loading.device())
        preprocessing, names = self.workspace.settings.preprocessing, self.workspace.class_names
        found = Classifier(model, preprocessing, names, spec.leaves, loading.made_with(spec))
        key = key_of("selftest", selftest.VERSION, model=found.fingerprint, device=found.device.type)

        def tested() -> SelfTest:
            if self._given is None:
                loading.refuse_random(spec, model)
            return selftest.examine(model, found)

        self._tested = self.store.remember(key, SelfTest, tested)
        return found

    @property
    def has_classifier(self) -> bool:
        """Whether the classifier is loaded and has passed its test, so that asking for it takes no time."""
        return "_classifier" in vars(self)

    @property
    def tested(self) -> SelfTest:
        """The result of the classifier's self-test; loads the classifier where it is not loaded yet.

        Raises:
            AevisError: as for `classifier`.
        """
        _ = self.classifier
        return self._tested

    @property
    def loaded(self) -> Loaded:
        """The model as it was loaded, with what is to be said about that; loads it where it is not loaded yet.

        Raises:
            AevisError: as for `classifier`.
        """
        _ = self.classifier
        return self._loaded

    def key(self, kind: str, **parts: object) -> str:
        """The store's key of a result that the classifier computes.

        Args:
            kind: the kind of result, one of the names in VERSIONS.
            parts: everything else that the result depends on, such as digests of images and the parameters.

        Returns:
            A text that begins with the kind, and differs where the kind's version, the model or any of the parts
            differs.
        """
        return key_of(kind, VERSIONS[kind], model=self.classifier.fingerprint, **parts)


class Part:
    """A part of the workbench, such as the judging of images or the datapaths. All parts share one `Base`."""

    def __init__(self, base: Base):
        self.base = base

    @property
    def workspace(self) -> Workspace:
        """The workspace that is analysed."""
        return self.base.workspace

    @property
    def store(self) -> Store:
        """The store of the workspace's results."""
        return self.base.store

    @property
    def classifier(self) -> Classifier:
        """The workspace's classifier.

        Raises:
            AevisError: where the model cannot be loaded or fails its self-test.
        """
        return self.base.classifier

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the model's outputs."""
        return self.workspace.class_names

    @property
    def layers(self) -> LayerGraph:
        """The layers of the classifier's network, in the order in which they run."""
        return self.classifier.layers

    def key(self, kind: str, **parts: object) -> str:
        """The store's key of a result that the classifier computes; see `Base.key`."""
        return self.base.key(kind, **parts)
