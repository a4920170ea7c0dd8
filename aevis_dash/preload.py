"""Imported once by the fork server, before any job: what every job needs, the model included."""

from aevis_dash import jobs
from aevis_dash.callbacks import background

jobs.warm()

__all__ = ["background"]
