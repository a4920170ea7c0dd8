"""AEVis Dash: explains why a convolutional network misclassifies an adversarial example."""

import importlib
import os

# Torch's worker threads spin while they wait unless told otherwise before torch is first imported. Where several
# processes share the cores (jobs beside the server, other people's work), they then wait for one another, and a
# second's work can take a minute.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_NAMES = ("activations", "beside", "init_like", "init_workspace", "layer", "open_workspace", "profiles", "river")
__all__ = list(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """What `aevis_dash.api` offers. It is loaded at its first use, as torch and Dash take seconds."""
    if name not in _NAMES:
        raise AttributeError(f"module 'aevis_dash' has no attribute {name!r}")
    return getattr(importlib.import_module("aevis_dash.api"), name)
