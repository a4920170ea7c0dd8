"""Imported once by the fork server, before any job, so that all modules and the model are loaded for every job."""

from aevis_dash import jobs
from aevis_dash.callbacks import background, processes

jobs.warm()

__all__ = ["background", "processes"]
