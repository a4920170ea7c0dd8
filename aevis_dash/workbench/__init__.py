"""The use cases of the analysis, in the paper's words.

Each use case asks the workspace's store for a result first and computes it only where the store does not have it.
"""

from aevis_dash.workbench.triplet import Plan, Triplet
from aevis_dash.workbench.workbench import Workbench, open_workbench

__all__ = ["Plan", "Triplet", "Workbench", "open_workbench"]
