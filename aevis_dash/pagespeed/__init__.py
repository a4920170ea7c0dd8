"""How fast the page answers its visitor, measured in a real browser and compared with what the project promises."""

from aevis_dash.pagespeed.measuring import page_speed

__all__ = ["page_speed"]
