"""The use cases, in the paper's words. Each asks the store first and computes only what is not there."""

from aevis_dash.workbench.triplet import Plan, Triplet
from aevis_dash.workbench.workbench import Workbench, open_workbench

__all__ = ["Plan", "Triplet", "Workbench", "open_workbench"]
