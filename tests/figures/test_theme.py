"""Colours stay apart for the colour-blind, and nothing leaves the page."""

from dataclasses import FrozenInstanceError
from itertools import combinations

import numpy as np
import pytest

from aevis_dash.domain import DATAPATHS, ROLES, Role, further
from aevis_dash.figures.theme import (
    DARK,
    LIGHT,
    base_layout,
    blend,
    caption,
    channels,
    fade,
    graph_config,
    shorten,
)

THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
BLIND = {
    "none": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ]
    ),
}


def linear(colour):
    s = np.array(channels(colour)) / 255
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.072175],
            [0.0193339, 0.119192, 0.9503041],
        ]
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def luminance(colour):
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


@THEMES
@pytest.mark.parametrize("sight", BLIND)
def test_role_colours_stay_apart(theme, sight):
    seen = [lab(BLIND[sight] @ linear(theme.role(role))) for role in ROLES]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 25


@THEMES
def test_colours_stand_out_from_the_page(theme):
    def contrast(colour):
        low, high = sorted((luminance(colour), luminance(theme.surface)))
        return (high + 0.05) / (low + 0.05)

    assert min(contrast(theme.path(path)) for path in (*ROLES, *map(further, range(2, DATAPATHS + 1)))) > 3
    assert len({theme.path(path) for path in (*ROLES, *map(further, range(2, DATAPATHS + 1)))}) == DATAPATHS + 2
    assert theme.path(further(3, other=1)) == theme.path(further(3)) != theme.path(further(2))
    assert contrast(theme.ink) > 10
    assert contrast(theme.faint) > 4.5


@THEMES
def test_activation_moves_steadily_away_from_the_page(theme):
    away = [abs(luminance(colour) - luminance(theme.surface)) for colour in theme.scale]
    assert away == sorted(away)
    assert away[0] < 0.1 < 0.8 < away[-1]
    assert [place for place, _ in theme.colorscale] == pytest.approx(np.linspace(0, 1, len(theme.scale)))


@THEMES
@pytest.mark.parametrize("sight", BLIND)
def test_a_rise_and_a_fall_as_large_stay_apart_and_nothing_is_the_page(theme, sight):
    """At every level but the faintest two, also for the colour-blind."""
    rise, fall = ([lab(BLIND[sight] @ linear(c)) for c in colours] for colours in (theme.scale, theme.fall))
    assert min(np.linalg.norm(a - b) for a, b in zip(rise[2:], fall[2:], strict=True)) > 15
    places, colours = zip(*theme.diverging, strict=True)
    assert (len(colours), colours[len(colours) // 2]) == (2 * len(theme.scale) - 1, theme.surface)
    assert places == pytest.approx(np.linspace(0, 1, len(places)))
    assert (colours[0], colours[-1]) == (theme.fall[-1], theme.scale[-1])
    away = [abs(luminance(colour) - luminance(theme.surface)) for colour in theme.fall]
    assert away == sorted(away)


def test_blending_is_the_mean_and_does_not_depend_on_the_order():
    assert blend(["#000000", "#ff8002"]) == "#804001"
    pair = [Role.TARGET, Role.SOURCE]
    assert LIGHT.paths(pair) == LIGHT.paths(pair[::-1])
    assert LIGHT.paths([Role.SOURCE]) == LIGHT.source
    assert fade("#0a0b0c", 0.5) == "rgba(10,11,12,0.5)"


def test_no_state_is_shared_between_visitors():
    with pytest.raises(FrozenInstanceError):
        LIGHT.ink = "#000000"  # type: ignore[misc]
    base_layout(LIGHT)["font"]["size"] = 99
    graph_config("toImage")["modeBarButtons"].append("pan2d")
    assert base_layout(LIGHT)["font"]["size"] != 99
    assert graph_config("toImage")["modeBarButtons"] == [["toImage"]]


def test_nothing_is_offered_to_a_cloud():
    config = graph_config()
    assert config["plotlyServerURL"] == ""
    assert config["showSendToCloud"] is config["displaylogo"] is config["scrollZoom"] is False
    assert config["displayModeBar"] is False


def test_captions_are_short_and_carry_no_markup():
    assert caption(Role.SOURCE, {Role.SOURCE: "<i>"}) == "src · &lt;i&gt;"
    assert caption(Role.TARGET, {}) == "tar"
    assert shorten("abcdefghij", 6) == "abcde…"
    assert shorten("abcdefghij", 3) == ""
