"""Whether rectangles lie inside one another, and apart."""

from itertools import combinations

SLACK = 1e-6


def inside(a, b):
    return a.x >= b.x - SLACK and a.y >= b.y - SLACK and a.right <= b.right + SLACK and a.bottom <= b.bottom + SLACK


def overlap(a, b):
    across = min(a.right, b.right) - max(a.x, b.x)
    down = min(a.bottom, b.bottom) - max(a.y, b.y)
    return max(across, 0) * max(down, 0)


def apart(rects):
    return all(overlap(a, b) < 1e-3 for a, b in combinations(rects, 2))
