"""The ten kinds of object of the drawn world, each built from parts, some of which kinds share."""

import itertools
import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.random import Generator

from aevis_dash.world.shapes import Colour, Pen, any_hue, arc, curve, mix, shade, vary

PARTS: Final[tuple[str, ...]] = (
    "ear", "eye patch", "eye", "face", "fur", "muzzle", "nose", "mouth", "whisker", "body", "tail",
    "wheel", "spoke", "barrel", "carriage", "net", "throat", "handle", "frame", "saddle", "crank",
    "fin", "scale", "canopy", "rib", "shaft", "rim", "bell", "mark", "hand", "foot", "trunk", "crown",
    "fruit",
)  # fmt: skip
"""Every part name that a drawing may use."""

_BLACK: Final = (0.1, 0.1, 0.12)
_WHITE: Final = (0.93, 0.92, 0.9)
_STEEL: Final = (0.5, 0.52, 0.57)
_WOOD: Final = (0.48, 0.3, 0.16)
_SKIN: Final = (0.87, 0.7, 0.55)
_SIDES: Final = (-1, 1)


def _eyes(pen: Pen, x: float, y: float, radius: float, iris: Colour) -> None:
    for side in _SIDES:
        pen.blob("eye", iris, side * x, y, radius)
        pen.blob("eye", _BLACK, side * x, y, radius * 0.62)
        pen.blob("eye", _WHITE, side * x + radius * 0.25, y - radius * 0.3, radius * 0.25)


def _snout(pen: Pen, colour: Colour, y: float, rx: float, ry: float) -> None:
    pen.blob("muzzle", colour, 0, y, rx, ry)
    pen.blob("nose", _BLACK, 0, y - ry * 0.4, 0.1, 0.065)
    pen.stroke("mouth", shade(colour, 0.35), curve((-0.15, y + 0.08), (0, y + 0.24), (0.15, y + 0.08)), 0.05)


def _ears(pen: Pen, outer: Colour, inner: Colour, x: float, y: float, radius: float) -> None:
    for side in _SIDES:
        pen.blob("ear", outer, side * x, y, radius)
        pen.blob("ear", inner, side * x, y, radius * 0.55)


def _panda(pen: Pen, rng: Generator) -> None:
    white = vary(rng, mix(_WHITE, _SKIN, rng.uniform(0, 0.45)), 0.06)
    black = vary(rng, mix(_BLACK, _WOOD, rng.uniform(0, 0.55)), 0.05)
    pen.blob("body", black, 0, 0.72, 0.62, 0.38)
    _ears(pen, black, shade(black, 1.6), rng.uniform(0.55, 0.65), rng.uniform(-0.58, -0.38), 0.25)
    pen.blob("face", white, 0, 0.03, 0.74, 0.68)
    lean, patch = rng.uniform(0.4, 0.8), rng.uniform(0.17, 0.21)
    for side in _SIDES:
        pen.blob("eye patch", black, side * 0.31, -0.03, patch, patch * 1.3, side * lean)
    _eyes(pen, 0.29, -0.06, 0.1, mix(white, _WOOD, 0.3))
    _snout(pen, shade(white, 0.9), 0.37, 0.26, 0.19)


def _monkey(pen: Pen, rng: Generator) -> None:
    fur = vary(rng, mix(_WOOD, (_BLACK, _STEEL)[rng.integers(2)], rng.uniform(0, 1)), 0.05)
    skin = vary(rng, mix(_SKIN, _WHITE, rng.uniform(0, 1)), 0.05)
    pen.blob("body", fur, 0, 0.72, 0.58, 0.38)
    lining = mix(skin, fur, rng.uniform(0, 0.8))
    _ears(pen, fur, lining, rng.uniform(0.62, 0.7), rng.uniform(-0.36, -0.08), 0.25)
    pen.blob("fur", fur, 0, -0.02, 0.68, 0.7)
    for side in _SIDES:
        pen.blob("face", skin, side * 0.23, -0.08, 0.3, 0.33)
    pen.blob("face", skin, 0, 0.27, 0.46, 0.36)
    if rng.uniform() < 0.8:
        socket = mix(skin, fur, rng.uniform(0.3, 0.95))
        for side in _SIDES:
            pen.blob("eye patch", socket, side * 0.26, -0.06, 0.16, 0.2, side * 0.5)
    _eyes(pen, 0.25, -0.07, 0.1, _WHITE)
    _snout(pen, shade(skin, 0.92), 0.33, 0.33, 0.22)


def _cat(pen: Pen, rng: Generator) -> None:
    coats = ((0.87, 0.55, 0.25), (0.55, 0.55, 0.58), (0.25, 0.23, 0.25), (0.76, 0.66, 0.5))
    coat = vary(rng, coats[rng.integers(4)], 0.07)
    pen.stroke("tail", shade(coat, 0.85), curve((0.4, 0.9), (1.1, 0.85), (0.6, 0.2), (1.0, 0.1)), 0.16)
    pen.blob("body", shade(coat, 0.9), 0, 0.72, 0.54, 0.38)
    for side in _SIDES:
        pen.polygon("ear", coat, [(side * 0.68, -0.1), (side * 0.64, -0.95), (side * 0.1, -0.5)])
        inner = [(side * 0.58, -0.3), (side * 0.57, -0.75), (side * 0.28, -0.5)]
        pen.polygon("ear", (0.9, 0.62, 0.62), inner)
    pen.blob("face", coat, 0, 0.05, 0.72, 0.6)
    for x in (-0.16, 0, 0.16):
        pen.stroke("fur", shade(coat, 0.6), [(x, -0.5), (x * 0.8, -0.27)], 0.07)
    for side in _SIDES:
        pen.blob("eye", vary(rng, (0.65, 0.82, 0.3), 0.12), side * 0.3, -0.03, 0.15, 0.13)
        pen.blob("eye", _BLACK, side * 0.3, -0.03, 0.05, 0.12)
    pen.blob("muzzle", mix(coat, _WHITE, 0.7), 0, 0.33, 0.26, 0.18)
    pen.polygon("nose", (0.75, 0.35, 0.38), [(-0.09, 0.2), (0.09, 0.2), (0, 0.31)])
    pen.stroke("mouth", _BLACK, curve((-0.14, 0.36), (0, 0.52), (0.14, 0.36)), 0.045)
    _whiskers(pen, mix(coat, _WHITE if sum(coat) < 1.6 else _BLACK, 0.7))


def _whiskers(pen: Pen, colour: Colour) -> None:
    for side in _SIDES:
        for slope in (-0.08, 0.06, 0.2):
            pen.stroke("whisker", colour, [(side * 0.26, 0.32 + slope / 2), (side * 0.9, 0.27 + slope)], 0.04)


def _wheel(pen: Pen, colour: Colour, spoke: Colour, x: float, y: float, radius: float, width: float) -> None:
    for angle in np.arange(4) * math.pi / 4:
        reach = (radius - width / 2) * math.cos(angle), (radius - width / 2) * math.sin(angle)
        pen.stroke("spoke", spoke, [(x - reach[0], y - reach[1]), (x + reach[0], y + reach[1])], 0.05)
    pen.ring("wheel", colour, x, y, radius, radius, width)
    pen.blob("wheel", colour, x, y, radius * 0.2)


def _cannon(pen: Pen, rng: Generator) -> None:
    iron, wood = vary(rng, mix(_BLACK, _STEEL, rng.uniform(0.2, 0.8))), vary(rng, _WOOD, 0.1)
    trail = [(-0.98, 0.72), (-0.9, 0.85), (0.25, 0.45), (0.2, 0.1), (-0.2, 0.15)]
    pen.polygon("carriage", shade(wood, 0.85), trail)
    rise = rng.uniform(0.15, 0.4)
    along, across = np.array([math.cos(rise), -math.sin(rise)]), np.array([math.sin(rise), math.cos(rise)])
    breech = np.array([-0.5, 0.12])
    ends = [(0, 0.26), (0, -0.26), (1.45, -0.17), (1.45, 0.17)]
    pen.blob("barrel", iron, -0.5 - 0.28 * math.cos(rise), 0.12 + 0.28 * math.sin(rise), 0.1)
    pen.blob("barrel", iron, -0.5, 0.12, 0.26)
    pen.polygon("barrel", iron, [tuple(breech + a * along + b * across) for a, b in ends])
    for a, half in ((0.1, 0.28), (0.75, 0.24), (1.4, 0.23)):
        band = [breech + a * along - half * across, breech + a * along + half * across]
        pen.stroke("barrel", shade(iron, 1.5), np.array(band), 0.11)
    _wheel(pen, wood, shade(wood, 0.8), 0, 0.42, 0.46, 0.12)


def _racket(pen: Pen, rng: Generator) -> None:
    frame, grip = any_hue(rng, rng.uniform(0.5, 0.9), rng.uniform(0.45, 0.9)), vary(rng, _WOOD, 0.15)
    string, gap = vary(rng, (0.9, 0.9, 0.8)), rng.uniform(0.15, 0.19)
    for step in np.arange(-2.5, 3) * gap:
        half = 0.54 * math.sqrt(1 - (step / 0.5) ** 2)
        pen.stroke("net", string, [(step, -0.4 - half), (step, -0.4 + half)], 0.04)
    for step in np.arange(-3, 3.5) * gap:
        half = 0.46 * math.sqrt(1 - (step / 0.6) ** 2)
        pen.stroke("net", string, [(-half, -0.4 + step), (half, -0.4 + step)], 0.04)
    for side in _SIDES:
        pen.stroke("throat", frame, curve((side * 0.33, 0.0), (side * 0.16, 0.22), (0, 0.4)), 0.1)
    pen.ring("frame", frame, 0, -0.4, 0.52, 0.6, 0.11)
    pen.stroke("handle", grip, [(0, 0.34), (0, 0.98)], 0.17)
    for y in (0.5, 0.65, 0.8):
        pen.stroke("handle", shade(grip, 0.65), [(-0.085, y), (0.085, y + 0.07)], 0.045)


def _bicycle(pen: Pen, rng: Generator) -> None:
    paint = any_hue(rng, rng.uniform(0.6, 0.95), rng.uniform(0.5, 0.9))
    tyre, metal = vary(rng, (0.17, 0.17, 0.18)), vary(rng, (0.75, 0.76, 0.8))
    rear, front, seat, crank, head = (-0.55, 0.38), (0.57, 0.38), (-0.25, -0.3), (-0.08, 0.4), (0.36, -0.32)
    for x, y in (rear, front):
        _wheel(pen, tyre, metal, x, y, 0.44, 0.1)
    for ends in ((rear, seat), (rear, crank), (crank, seat), (seat, head), (crank, head), (front, head)):
        pen.stroke("frame", paint, ends, 0.1)
    pen.stroke("frame", metal, [seat, (-0.29, -0.5)], 0.08)
    pen.stroke("saddle", shade(tyre, 1.3), [(-0.48, -0.54), (-0.1, -0.5)], 0.14)
    pen.stroke("handle", tyre, [head, (0.3, -0.56), (0.5, -0.66), (0.64, -0.5)], 0.09)
    pen.blob("crank", metal, *crank, 0.12)
    pen.stroke("crank", tyre, [crank, (0.06, 0.62), (0.2, 0.62)], 0.07)


def _fish(pen: Pen, rng: Generator) -> None:
    skin = any_hue(rng, rng.uniform(0.5, 0.9), rng.uniform(0.6, 0.95))
    fin = mix(skin, any_hue(rng, 0.8, 0.8), 0.5)
    pen.polygon("tail", fin, [(-0.5, 0), (-0.98, -0.45), (-0.84, 0), (-0.98, 0.45)])
    pen.polygon("fin", fin, curve((-0.4, -0.25), (-0.2, -0.95), (0.1, -0.7), (0.4, -0.3)))
    pen.polygon("fin", fin, curve((-0.25, 0.25), (-0.3, 0.8), (0.0, 0.7), (0.15, 0.3)))
    lower = curve((0.95, 0.02), (0.5, 0.68), (-0.2, 0.5), (-0.66, 0.06))
    upper = curve((-0.66, -0.06), (-0.2, -0.5), (0.5, -0.68), (0.95, -0.02))
    pen.polygon("body", skin, np.vstack([lower, upper]))
    for column, x in enumerate((-0.3, -0.14, 0.02, 0.18)):
        for y in np.arange(-1, 1.5 + column % 2) * 0.19 - 0.095 * (column % 2):
            pen.stroke("scale", shade(skin, 0.68), arc(x, y, 0.09, math.pi * 0.5, math.pi * 1.5, 6), 0.035)
    pen.stroke("scale", shade(skin, 0.6), arc(0.66, 0, 0.34, math.pi * 0.72, math.pi * 1.28, 8), 0.05)
    pen.polygon("fin", shade(fin, 0.8), [(0.28, 0.08), (-0.08, 0.3), (0.1, 0.02)])
    pen.stroke("mouth", shade(skin, 0.35), curve((0.92, 0.06), (0.8, 0.14), (0.74, 0.1), count=5), 0.05)
    pen.blob("eye", _WHITE, 0.6, -0.11, 0.12)
    pen.blob("eye", _BLACK, 0.63, -0.11, 0.07)


def _umbrella(pen: Pen, rng: Generator) -> None:
    cloth, wood = any_hue(rng, rng.uniform(0.5, 0.9), rng.uniform(0.55, 0.95)), vary(rng, _WOOD, 0.1)
    other = mix(cloth, _WHITE, rng.uniform(0.0, 0.8))
    pen.stroke("shaft", wood, [(0, -0.98), (0, 0.66)], 0.08)
    hook = np.vstack([[(0, 0.45)], arc(0.16, 0.74, 0.16, math.pi, 0, 10)])
    pen.stroke("handle", shade(wood, 0.8), hook, 0.12)
    edges = np.linspace(-0.92, 0.92, 5)
    top = np.array([(0.0, -0.82)])
    for index, (left, right) in enumerate(itertools.pairwise(edges)):
        scallop = curve((left, 0.05), ((left + right) / 2, -0.16), (right, 0.05), count=8)
        rising = curve((right, 0.05), (right * 0.92, -0.6), (0, -0.82), count=8)
        falling = curve((0, -0.82), (left * 0.92, -0.6), (left, 0.05), count=8)
        pen.polygon("canopy", (cloth, other)[index % 2], np.vstack([scallop, rising, top, falling]))
    for x in edges[1:-1]:
        pen.stroke("rib", shade(cloth, 0.55), curve((x, 0.05), (x * 0.92, -0.6), (0, -0.82)), 0.04)


def _clock(pen: Pen, rng: Generator) -> None:
    metal = mix(any_hue(rng, 0.7, 0.8), _STEEL, rng.uniform(0, 0.6))
    face, ink = vary(rng, (0.93, 0.92, 0.86)), vary(rng, _BLACK)
    for side in _SIDES:
        pen.stroke("foot", shade(metal, 0.7), [(side * 0.35, 0.6), (side * 0.6, 0.95)], 0.14)
        pen.blob("bell", shade(metal, 0.85), side * 0.46, -0.66, 0.27, 0.2, side * 0.6)
    pen.stroke("handle", shade(metal, 0.7), arc(0, -0.72, 0.22, math.pi, 2 * math.pi, 10), 0.07)
    pen.blob("rim", metal, 0, 0.08, 0.76)
    pen.blob("face", face, 0, 0.08, 0.62)
    for angle in np.arange(12) * math.pi / 6:
        cos, sin = math.cos(angle), math.sin(angle)
        pen.stroke("mark", ink, [(0.46 * cos, 0.08 + 0.46 * sin), (0.56 * cos, 0.08 + 0.56 * sin)], 0.06)
    for length, width in ((0.3, 0.1), (0.45, 0.07)):
        angle = rng.uniform(0, 2 * math.pi)
        tip = length * math.cos(angle), 0.08 + length * math.sin(angle)
        pen.stroke("hand", ink, [(0, 0.08), tip], width)
    pen.blob("hand", ink, 0, 0.08, 0.07)


def _tree(pen: Pen, rng: Generator) -> None:
    leaf = vary(rng, (0.25, 0.52, 0.2), 0.13)
    bark, fruit = vary(rng, _WOOD, 0.09), any_hue(rng, 0.85, 0.85)
    outline = [(-0.24, 0.98), (-0.12, 0.4), (-0.1, 0.0), (0.1, 0.0), (0.12, 0.4), (0.24, 0.98)]
    pen.polygon("trunk", bark, outline)
    for side in _SIDES:
        pen.stroke("trunk", bark, [(0, 0.4), (side * 0.38, 0.05)], 0.1)
    for radius, tone in ((0.36, 0.8), (0.29, 1.0)):
        for x, y in ((-0.45, -0.05), (0.45, -0.05), (-0.32, -0.48), (0.32, -0.48), (0, -0.6), (0, -0.2)):
            pen.blob("crown", shade(leaf, tone), x + rng.uniform(-0.06, 0.06), y, radius)
    for _ in range(rng.integers(3, 8)):
        pen.blob("fruit", fruit, rng.uniform(-0.55, 0.55), rng.uniform(-0.7, 0.05), 0.085)


OBJECTS: Final[dict[str, Callable[[Pen, Generator], None]]] = {
    "panda": _panda,
    "monkey": _monkey,
    "cat": _cat,
    "cannon": _cannon,
    "racket": _racket,
    "bicycle": _bicycle,
    "fish": _fish,
    "umbrella": _umbrella,
    "clock": _clock,
    "tree": _tree,
}
"""How each class is drawn, in the order of the labels."""
