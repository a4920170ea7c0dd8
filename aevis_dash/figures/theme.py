"""The colours and manners that all figures share: three roles, one scale of activation, light and dark."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aevis_dash.domain import Role, short_of

CLEAR = "rgba(0,0,0,0)"
FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
TEXT_SIZE = 12
CHARACTER = 6.3
"""The mean width of a character in pixels, at the size of texts."""
_SHEER = 0.9
"""The opacity of the highest activation over an image."""


@dataclass(frozen=True)
class Theme:
    """The colours of one appearance, as #rrggbb. Backgrounds are transparent, and `surface` is the page behind them.

    The colours of the three roles can be told apart by the colour-blind and on this surface. `scale` goes from no
    activation (the surface's end) to the highest, and `fall` to the largest fall of activation. The `further` colours
    are for the second target and on. `more` and `less` fill a cell whose difference of activations is positive or
    negative, and `mark` is for what deserves a look.
    """

    name: str
    source: str
    adversarial: str
    target: str
    ink: str
    faint: str
    grid: str
    surface: str
    scale: tuple[str, ...]
    fall: tuple[str, ...]
    more: str
    less: str
    mark: str
    further: tuple[str, ...]

    def path(self, path: str) -> str:
        """The colour of a compared datapath by its key: that of its role, or a further target's own."""
        number = path.split(" ")[1:]
        return self.further[(int(number[0]) - 2) % len(self.further)] if number else self.role(Role(path))

    def role(self, role: Role) -> str:
        """The colour of a role."""
        return {
            Role.SOURCE: self.source,
            Role.ADVERSARIAL: self.adversarial,
            Role.TARGET: self.target,
        }[role]

    def paths(self, paths: Iterable[str]) -> str:
        """The blended colour of a region that these datapaths share. One datapath gives its own colour, and none a
        faint one."""
        return blend([self.path(path) for path in sorted(paths)] or [self.faint])

    @property
    def colorscale(self) -> list[list[float | str]]:
        """`scale` as plotly takes it: [position in 0..1, colour]."""
        return _colour_scale(self.scale)

    @property
    def diverging(self) -> list[list[float | str]]:
        """The scale of differences as plotly takes it: `fall` downwards, the surface for no difference, `scale`
        upwards."""
        return _colour_scale((*self.fall[:0:-1], self.surface, *self.scale[1:]))

    @property
    def sheer(self) -> list[list[float | str]]:
        """The scale of activations over an image. The lower an activation, the more of the image is seen."""
        last = len(self.scale) - 1
        return _colour_scale([fade(colour, _SHEER * (i / last) ** 0.5) for i, colour in enumerate(self.scale)])


def _colour_scale(colours: Sequence[str]) -> list[list[float | str]]:
    return [[place / (len(colours) - 1), colour] for place, colour in enumerate(colours)]


LIGHT = Theme(
    name="light",
    source="#0072b2",
    adversarial="#c24e00",
    target="#007f5f",
    ink="#1f2730",
    faint="#66707b",
    grid="#d5dae0",
    surface="#ffffff",
    scale=("#f5fbf2", "#cfeac4", "#93cf8c", "#4aa655", "#1a7a37", "#00441b"),
    fall=("#f8f5fb", "#dfd0ea", "#b99ccb", "#8d5fae", "#652d8c", "#3f0a5e"),
    more="#58a84f",
    less="#c2b8cf",
    mark="#ffc933",
    further=("#a0328c", "#806400", "#5f50c8", "#7d4a2d", "#4f6a7a", "#b8325c", "#33407a"),
)
DARK = Theme(
    name="dark",
    source="#56b4e9",
    adversarial="#ff8c42",
    target="#35d0a5",
    ink="#e8ecf0",
    faint="#98a2ad",
    grid="#3a424c",
    surface="#16191d",
    scale=("#121a14", "#173a20", "#1d6331", "#359349", "#7cc872", "#dcfcc9"),
    fall=("#19141f", "#35214a", "#573785", "#8560bb", "#b994e6", "#f0e2ff"),
    more="#3d8a42",
    less="#675a7a",
    mark="#ffd84d",
    further=("#e58ad0", "#dcc545", "#aaa2ff", "#cf9f7c", "#a9c0d0", "#ff9aa8", "#c5d0ff"),
)


def theme(dark: bool) -> Theme:
    """The dark or the light theme."""
    return DARK if dark else LIGHT


def channels(colour: str) -> tuple[int, int, int]:
    """The red, green and blue, 0 to 255, of a colour #rrggbb."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def blend(colours: list[str]) -> str:
    """The mean of #rrggbb colours."""
    parts = zip(*map(channels, colours), strict=True)
    return "#" + "".join(f"{round(sum(part) / len(colours)):02x}" for part in parts)


def fade(colour: str, opacity: float) -> str:
    """The colour as rgba(...) with that opacity."""
    red, green, blue = channels(colour)
    return f"rgba({red},{green},{blue},{opacity:g})"


def base_layout(theme: Theme) -> dict[str, Any]:
    """The layout that every figure starts from: no template, no legend, transparent, with the theme's ink."""
    return {
        "template": "none",
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"family": FONT, "size": TEXT_SIZE, "color": theme.ink},
        "showlegend": False,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "hoverlabel": {
            "bgcolor": theme.surface,
            "bordercolor": theme.faint,
            "font": {"family": FONT, "size": TEXT_SIZE, "color": theme.ink},
            "align": "left",
        },
        "modebar": {"bgcolor": CLEAR, "color": theme.faint, "activecolor": theme.ink, "orientation": "v"},
    }


def graph_config(*buttons: str) -> Any:
    """The `config` of a dcc.Graph: nothing leads out of the page, the wheel does not zoom, and the mode bar has these
    buttons.

    Buttons have plotly's names: "toImage", "select2d", "lasso2d". Without any there is no mode bar.
    """
    return {
        "displaylogo": False,
        "showSendToCloud": False,
        "plotlyServerURL": "",
        "scrollZoom": False,
        "doubleClick": False,
        "doubleClickDelay": 1,
        "responsive": True,
        "displayModeBar": "hover" if buttons else False,
        "modeBarButtons": [list(buttons)] if buttons else [],
    }


def bare_axis(low: float, high: float) -> dict[str, Any]:
    """An axis that is only a scale from low to high: nothing of it is drawn, and it cannot be zoomed."""
    return {"range": [low, high], "visible": False, "fixedrange": True}


def caption(path: str, names: Mapping[str, str], characters: int = 22) -> str:
    """The name of a datapath and of its class, shortened to so many characters: "adv · tabby cat"."""
    return f"{short_of(path)} · {plain(shorten(names[path], characters))}" if names.get(path) else short_of(path)


def shorten(text: str, characters: int) -> str:
    """The text in at most so many characters, with an ellipsis for the rest; "" where too little would be left."""
    if len(text) <= characters:
        return text
    return text[: characters - 1].rstrip() + "…" if characters > 4 else ""


def plain(text: str) -> str:
    """The text, changed so that plotly reads no markup in it."""
    return html.escape(text, quote=False)
