"""How fast the page is for its visitor: measured in a real browser, beside what it promises."""

from aevis_dash.pagespeed.measuring import page_speed

__all__ = ["page_speed"]
