"""The cases of test_fuzz.py: what is spoiled in a good workspace, and the command that is then said."""

import os
import pickle
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fuzz_models
import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file


@dataclass(frozen=True)
class Place:
    """A good workspace in a folder of its own, beside what it was made of. `fooled` is an example that is
    misclassified, `source` and `adversarial` are its images."""

    home: Path
    fooled: str
    source: Path
    adversarial: Path
    others: tuple[str, ...]

    @property
    def root(self) -> Path:
        return self.home / "lab"

    @property
    def photos(self) -> Path:
        return self.home / "photos"

    @property
    def weights(self) -> Path:
        return self.home / "net.pt"


@dataclass(frozen=True)
class Case:
    """What to spoil, then what to say, with {root}, {home}, {id}, {source} in it.

    must   "refuse", "answer", or "" where both are right, as long as the answer is
    rows   whether the rows of the tables must be read as they stood before, or refused
    """

    kind: str
    name: str
    spoil: Callable[[Place], object]
    argv: Sequence[str]
    must: str = ""
    rows: bool = True

    def __str__(self) -> str:
        return re.sub(r"[^\w.=-]+", "_", f"{self.kind}-{self.argv[0]}-{self.name}")[:90]


VERBS = {
    "check": ["check", "{root}"],
    "score": ["score", "{root}"],
    "attack": ["attack", "{root}", "--epsilon", "16", "--steps", "3"],
    "extract": ["extract", "{root}", "--example", "{id}"],
    "verify": ["verify", "{root}", "--example", "{id}", "--random", "5"],
    "contribute": ["contribute", "{root}", "--example", "{id}", "--how", "quadratic"],
    "learn": ["learn", "{root}"],
}
INIT = "init {home}/new --model fuzz_models:net --weights {home}/net.pt --images {home}/photos --input-size 32 --mean "
INIT = [*(INIT + ".5,.5,.5 --std .25,.25,.25 --classes {home}/classes.txt").split()]


def all_cases(seed: int = 0) -> list[Case]:
    """Every case; the same for the same seed."""
    rng = random.Random(seed)
    makers = (_settings, _classes, _images_csv, _examples_csv, _labels, _images, _weights, _pairs, _models)
    return [case for maker in (*makers, _stored, _options) for case in maker(rng)]


FOUND = {
    ("settings", "weights gone"),
    ("images.csv", "file device"),
    ("images.csv", "file long"),
    ("images.csv", "a row twice"),
    ("examples.csv", "dangling"),
    ("labels", "loop"),
    ("store", "pipe"),
    ("store", "loop"),
    ("options", "--mean nan,0,0"),
    *(("models", name) for name in "double whole_numbers complex detached one_hot exits constant relu_by_mask".split()),
}
"""What once ended in a fault."""


def sample(count: int, seed: int = 0) -> list[Case]:
    """As many of them: what once ended in a fault, and of the others some of every kind, in proportion."""
    cases, rng = all_cases(seed), random.Random(seed)
    chosen = {(case.kind, case.name): case for case in cases if (case.kind, case.name) in FOUND}
    kinds = {case.kind: [c for c in cases if c.kind == case.kind and (c.kind, c.name) not in FOUND] for case in cases}
    share = (count - len(chosen)) / sum(map(len, kinds.values()))
    others = (case for of_kind in kinds.values() for case in rng.sample(of_kind, max(1, round(share * len(of_kind)))))
    return [*chosen.values(), *others]


def _verb(rng: random.Random, *among: str) -> list[str]:
    return VERBS[rng.choice(among or tuple(VERBS))]


# Bytes


Bytes = Callable[[bytes], bytes]


def _damage(rng: random.Random, flips: int, cuts: int) -> Iterator[tuple[str, Bytes]]:
    for i in range(flips):
        yield f"flipped {i}", _flipped(rng.random(), 1 << rng.randrange(8), 1 + 3 * (i % 2))
    for i in range(cuts):
        yield f"cut {i}", _cut(rng.random())


def _flipped(at: float, bit: int, count: int) -> Bytes:
    def flip(data: bytes) -> bytes:
        spoiled = bytearray(data)
        for k in range(count):
            spoiled[(int(at * len(data)) + 7 * k) % len(data)] ^= bit
        return bytes(spoiled)

    return flip


def _cut(at: float) -> Bytes:
    return lambda data: data[: int(at * len(data))]


def _text(change: Callable[[str], str], encoding: str = "utf-8") -> Bytes:
    return lambda data: change(data.decode()).encode(encoding)


def _in(file: Callable[[Place], Path], change: Bytes) -> Callable[[Place], object]:
    return lambda place: file(place).write_bytes(change(file(place).read_bytes()))


ENCODED: dict[str, Bytes] = {
    "BOM": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": _text(str, "utf-16"),
    "UTF-16-BE without BOM": _text(str, "utf-16-be"),
    "UTF-32": _text(str, "utf-32"),
    "latin": lambda data: data + "é".encode("latin-1"),
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "CR": lambda data: data.replace(b"\n", b"\r"),
    "blank lines": lambda data: data.replace(b"\n", b"\n\n"),
    "NUL": lambda data: data + b"\0",
    "empty": lambda data: b"",
    "blank": lambda data: b"\n \n",
    "random bytes": lambda data: np.random.default_rng(0).bytes(500),
}


def _no_file(path: Path, kind: str) -> None:
    """Put something that is no regular file in a file's place; what stood there moves aside."""
    path.rename(path.with_name(path.name + ".aside"))
    makers: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo,
        "folder": Path.mkdir,
        "loop": lambda p: p.symlink_to(p.name),
        "dangling": lambda p: p.symlink_to("nowhere"),
        "device": lambda p: p.symlink_to("/dev/zero"),
        "link": lambda p: p.symlink_to(p.with_name(p.name + ".aside")),
        "absent": lambda p: None,
    }
    makers[kind](path)


NO_FILES = ("pipe", "folder", "loop", "dangling", "device", "absent")


# Texts and tables


_VALUES: list[str] = (
    'true|"x"|""|[]|{}|1e308|-1|0|nan|inf|-inf|100000000000000000000000|[1, [2]]|0x10|2020-01-01|[nan, nan, nan]'
    '|[0.0, 0.0, 0.0]|[32, 32, 32]|[0, 0]|[-3, 32]|[1e300, 1e300, 1e300]|"../.."|"\\u0000"|"/dev/zero"|"os:abort"'
).split("|")
_KEYS = (
    "source weights input_size mean std value_range fit interpolation folder opens_on epsilon steps momentum method "
    "share hold samples rounds candidates null_targets seed batch iterations patches"
).split()


def _toml(place: Place) -> Path:
    return place.root / "workspace.toml"


def _value(key: str, value: str | None) -> Bytes:
    line = "" if value is None else f"{key} = {value}\n"
    pattern = re.compile(rf"^{key} = (\[.*?\]|[^\n]*)\n", re.M | re.S)
    return _text(lambda text: pattern.sub(lambda _: line, text, count=1))


def _settings(rng: random.Random) -> Iterator[Case]:
    for key in _KEYS:
        must = "refuse" if key in ("source", "weights", "input_size") else ""  # without weights it is random
        yield Case("settings", f"{key} gone", _in(_toml, _value(key, None)), _verb(rng), must)
        for value in rng.sample(_VALUES, 3):
            yield Case("settings", f"{key}={value}", _in(_toml, _value(key, value)), _verb(rng))
    for name, value in (
        ("fit", '"pad"'),
        ("fit", '"squeeze"'),
        ("mean", "[0.4, 0.5, 0.6]"),
        ("input_size", "[48, 40]"),
    ):
        yield Case("settings", f"{name}={value}", _in(_toml, _value(name, value)), _verb(rng, "check", "score"))
    added = {
        "unknown key": "[attack]\nepsilom = 3\n",
        "unknown table": "[atack]\nepsilon = 3\n",
        "deep": f"deep = {'[' * 3000}{']' * 3000}\n",
        "deep tables": f"[{'.'.join('a' * 3000)}]\n",
        "long": f"[attack]\nepsilon = {'9' * 5000}\n",
        "twice": "[model]\n",
    }
    for name, text in added.items():
        yield Case("settings", name, _in(_toml, lambda d, t=text: d + t.encode()), _verb(rng), "refuse")
    for name, change in (*ENCODED.items(), *_damage(rng, 8, 5)):
        yield Case("settings", name, _in(_toml, change), _verb(rng))
    for kind in NO_FILES:
        yield Case("settings", kind, lambda p, k=kind: _no_file(_toml(p), k), _verb(rng), "refuse")


def _classes(rng: random.Random) -> Iterator[Case]:
    file: Callable[[Place], Path] = lambda place: place.root / "classes.txt"  # noqa: E731
    texts = {
        "one gone": lambda t: t.partition("\n")[2],
        "one more": lambda t: t + "else\n",
        "twice": lambda t: t.replace("rows", "bars"),
        "twice in other case": lambda t: t.replace("rows", "BARS"),
        "spaces": lambda t: t.replace("rows", "  rows  "),
        "numbers": lambda t: "1\n0\n3\n2\n",
        "superscript": lambda t: t.replace("rows", "²"),
        "long": lambda t: t.replace("rows", "9" * 5000),
        "escape": lambda t: t.replace("rows", "\x1b[31mrows"),
        "JSON": lambda t: '["bars", "rows", "slant", "rings"]',
        "JSON index": lambda t: (
            '{"0": ["n1", "bars"], "1": ["n2", "rows"], "2": ["n3", "slant"], "3": ["n4", "rings"]}'
        ),
        "JSON with a hole": lambda t: '{"0": "bars", "1": "rows", "2": "slant", "4": "rings"}',
        "JSON deep": lambda t: "[" * 100_000,
        "JSON of numbers": lambda t: "[1, 2, 3, 4]",
    }
    changes = {**{name: _text(change) for name, change in texts.items()}, **ENCODED}
    for name, change in (*changes.items(), *_damage(rng, 4, 2)):
        yield Case("classes", name, _in(file, change), _verb(rng, "check", "score", "extract"), rows=False)
    for kind in NO_FILES:
        yield Case("classes", kind, lambda p, k=kind: _no_file(file(p), k), _verb(rng, "check", "score"), "refuse")


def _column(number: int, change: Callable[[str], str], row: int = 2) -> Bytes:
    """Change one value of one row of a plain table."""

    def edit(text: str) -> str:
        lines = text.splitlines()
        values = re.findall(r'("[^"]*"|[^,]*)(?:,|$)', lines[row])
        values[number] = change(values[number])
        return "\n".join([*lines[:row], ",".join(values[: lines[0].count(",") + 1]), *lines[row + 1 :]]) + "\n"

    return _text(edit)


_NAMES: dict[str, Callable[[str], str]] = {
    "absolute": lambda v: f"/{v}",
    "climbing": lambda v: f"../photos/{v}",
    "climbing out": lambda v: "../../../../../../etc/passwd",
    "empty": lambda v: "",
    "space": lambda v: " ",
    "backslashes": lambda v: v.replace("/", "\\"),
    "other case": lambda v: v.upper(),
    "quoted": lambda v: f'"{v}"',
    "half quoted": lambda v: f'"{v}',
    "control": lambda v: v[:2] + "\x07" + v[2:],
    "NUL": lambda v: v + "\0",
    "long": lambda v: "x" * 6000,
    "long path": lambda v: "x/" * 3000,
    "emoji": lambda v: "🐼.png",
    "a folder": lambda v: v.rpartition("/")[0] or ".",
    "device": lambda v: "/dev/zero",
    "tilde": lambda v: "~/x.png",
    "address": lambda v: "https://example.org/x.png",
    "formula": lambda v: "=1+1",
}
_LABELS = [
    "99",
    "-1",
    "1.5",
    "1.0",
    "rows",
    " 1 ",
    "²",
    "9" * 5000,
    "nan",
    "1e0",
    "0x1",
    "True",
    "bars;rows",
    "None",
    "١",
]
_SHAPES: dict[str, Bytes] = {
    "semicolons": lambda d: d.replace(b",", b";"),
    "tabs": lambda d: d.replace(b",", b"\t"),
    "bars": lambda d: d.replace(b",", b"|"),
    "spaces after commas": lambda d: d.replace(b",", b", "),
    "mixed": lambda d: d.replace(b",", b";", 5),
    "a column more": _text(lambda t: "\n".join(f"{line},x" for line in t.splitlines())),
    "a value more": _text(lambda t: t.rstrip("\n") + ",x,y\n"),
    "header alone": _text(lambda t: t.splitlines()[0] + "\n"),
    "no header": _text(lambda t: t.partition("\n")[2]),
    "two headers": _text(lambda t: t.splitlines()[0] + "\n" + t),
    "a row twice": _text(lambda t: t + t.splitlines()[3] + "\n"),
    "header in capitals": _text(lambda t: t.splitlines()[0].upper() + "\n" + t.partition("\n")[2]),
    "columns reversed": _text(lambda t: "\n".join(",".join(reversed(x.split(","))) for x in t.splitlines())),
    "no end": _text(lambda t: t.rstrip("\n")),
    "open quote": lambda d: d + b'"',
    "very long line": lambda d: d + b"x" * 200_000,
}


def _images_csv(rng: random.Random) -> Iterator[Case]:
    file: Callable[[Place], Path] = lambda place: place.root / "images.csv"  # noqa: E731
    names = {f"file {name}": _column(0, change) for name, change in _NAMES.items()}
    labels = {f"label {label[:9]}": _column(1, lambda _, v=label: v) for label in _LABELS}
    for name, change in (*ENCODED.items(), *names.items(), *labels.items(), *_SHAPES.items(), *_damage(rng, 8, 5)):
        yield Case("images.csv", name, _in(file, change), _verb(rng, "check", "score", "attack", "extract", "learn"))
    for kind in NO_FILES:
        yield Case("images.csv", kind, lambda p, k=kind: _no_file(file(p), k), _verb(rng), "refuse")


def _examples_csv(rng: random.Random) -> Iterator[Case]:
    file: Callable[[Place], Path] = lambda place: place.root / "examples.csv"  # noqa: E731
    changes = {f"{what} {n}": _column(i, c) for n, c in _NAMES.items() for i, what in ((1, "src"), (2, "adv"))}
    chosen = dict(rng.sample(sorted(changes.items()), 20))
    chosen |= {
        f"{name} {v[:9]}": _column(i, lambda _, v=v: v)
        for name, i in (("true", 3), ("target", 5))
        for v in rng.sample(_LABELS, 4)
    }
    chosen |= {f"epsilon {v}": _column(6, lambda _, v=v: v) for v in ("nan", "-1", "1e308", "8/255", "0", "0.001", "²")}
    chosen |= {f"allow {v}": _column(7, lambda _, v=v: v) for v in ("yes", "maybe", "1", "YES")}
    chosen |= {"id empty": _column(0, lambda _: ""), "id of escapes": _column(0, lambda _: "\x1b[2J")}
    chosen |= {"three columns": _text(lambda t: "\n".join(",".join(x.split(",")[:3]) for x in t.splitlines()))}
    for name, change in (*ENCODED.items(), *chosen.items(), *_SHAPES.items(), *_damage(rng, 8, 5)):
        yield Case("examples.csv", name, _in(file, change), _verb(rng, "check", "score", "attack", "extract", "verify"))
    for kind in NO_FILES[:-1]:
        verb = _verb(rng, "check", "score", "attack", "extract")
        yield Case("examples.csv", kind, lambda p, k=kind: _no_file(file(p), k), verb, "refuse")


def _labels(rng: random.Random) -> Iterator[Case]:
    """Tables of labels and names of folders, given to init."""
    file: Callable[[Place], Path] = lambda place: place.home / "labels.csv"  # noqa: E731
    with_table = [*INIT, "--labels", "{home}/labels.csv"]
    names = {f"file {name}": _column(0, change) for name, change in _NAMES.items()}
    labels = {f"label {label[:9]}": _column(1, lambda _, v=label: v) for label in _LABELS}
    chosen = rng.sample(sorted({**names, **labels}.items()), 16)
    for name, change in (*ENCODED.items(), *chosen, *_SHAPES.items(), *_damage(rng, 3, 2)):
        yield Case("labels", name, _in(file, change), with_table)
    for kind in NO_FILES:
        yield Case("labels", kind, lambda p, k=kind: _no_file(file(p), k), with_table, "refuse")
    folders = {
        "capitals": "ROWS", "number": "1", "one higher": "4", "unknown": "zebra", "hidden": ".rows", "spaces": "ro ws",
        "own": "adversarial", "newline": "ro\nws", "escape": "\x1b[1m", "no UTF-8": "r\udcff", "system": "@eaDir",
    }  # fmt: skip
    for name, folder in folders.items():
        yield Case("labels", f"folder {name}", lambda p, f=folder: (p.photos / "rows").rename(p.photos / f), INIT)
    yield Case("labels", "folder linked", lambda p: _linked(p.photos / "rows"), INIT, "answer")
    yield Case(
        "labels", "folder in a circle", lambda p: (p.photos / "rows" / "up").symlink_to(p.photos), INIT, "answer"
    )
    yield Case("labels", "all in one", lambda p: [f.rename(p.photos / f.name) for f in p.photos.rglob("*.png")], INIT)
    yield Case("labels", "no images", lambda p: shutil.rmtree(p.photos), INIT, "refuse")


def _linked(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to("../elsewhere")


# Images and pairs


def _saved(change: Callable[[Image.Image], Image.Image], **options: Any) -> Callable[[Path], object]:
    return lambda path: change(Image.open(path).convert("RGB")).save(path, **{"format": "PNG", **options})


def _turned(image: Image.Image) -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return {"exif": exif}


def _palette(image: Image.Image) -> Image.Image:
    found = image.quantize(16)
    found.info["transparency"] = 3
    return found


def _deep(path: Path) -> None:
    Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 60).save(path, "PNG")


def _with_alpha(image: Image.Image) -> Image.Image:
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


_PICTURES: dict[str, Callable[[Path], object]] = {
    "16 bit": _deep,
    "CMYK": _saved(lambda i: i.convert("CMYK"), format="JPEG"),
    "animated": _saved(lambda i: i, save_all=True, append_images=[Image.new("RGB", (32, 32))]),
    "animated GIF": _saved(lambda i: i, format="GIF", save_all=True, append_images=[Image.new("RGB", (32, 32))]),
    "turned": lambda path: (i := Image.open(path).resize((60, 40))).save(path, "JPEG", **_turned(i)),
    "turned at input size": lambda path: (i := Image.open(path).copy()).save(path, "JPEG", **_turned(i)),
    "wrong suffix": _saved(lambda i: i, format="BMP"),
    "WebP": _saved(lambda i: i, format="WEBP", lossless=True),
    "1x1": _saved(lambda i: i.resize((1, 1))),
    "8x8": _saved(lambda i: i.resize((8, 8))),
    "wide": _saved(lambda i: i.resize((5000, 9))),
    "large": _saved(lambda i: i.resize((1500, 1100))),
    "odd": _saved(lambda i: i.resize((47, 33))),
    "alpha": _saved(_with_alpha),
    "grey": _saved(lambda i: i.convert("L")),
    "grey with alpha": _saved(lambda i: i.convert("LA")),
    "palette": _saved(_palette),
    "two colours": _saved(lambda i: i.convert("1")),
    "YCbCr": _saved(lambda i: i.convert("YCbCr"), format="TIFF"),
    "LAB": _saved(lambda i: i.convert("LAB"), format="TIFF"),
    "decimals": _saved(lambda i: i.convert("F"), format="TIFF"),
    "whole numbers": _saved(lambda i: i.convert("I"), format="TIFF"),
    "text": lambda path: path.write_text("no image"),
    "empty": lambda path: path.write_bytes(b""),
    "SVG": lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "numpy": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v\x00{}" + bytes(3072)),
    "bomb": lambda path: Image.new("L", (12_000, 12_000)).save(path, "PNG"),
}  # fmt: skip


def _images(rng: random.Random) -> Iterator[Case]:
    damage = {
        name: lambda path, c=change: path.write_bytes(c(path.read_bytes())) for name, change in _damage(rng, 8, 8)
    }
    broken = {kind: lambda path, k=kind: _no_file(path, k) for kind in (*NO_FILES, "link")}
    for name, change in (*_PICTURES.items(), *damage.items(), *broken.items()):
        spoil = lambda place, c=change: c(place.source)  # noqa: E731
        yield Case("images", name, spoil, _verb(rng, "check", "score", "attack", "extract", "learn"))
        init = [*INIT, "--skip-unreadable"] if rng.random() < 0.5 else INIT
        yield Case("images", name, spoil, init)


def _pairs(rng: random.Random) -> Iterator[Case]:
    def swapped(place: Place) -> None:
        other = next(p for p in sorted(place.adversarial.parent.iterdir()) if p.name[:3] != place.adversarial.name[:3])
        place.adversarial.write_bytes(other.read_bytes())

    def other_rows(column: int) -> Bytes:
        return _text(lambda t: _swap_column(t, column))

    spoiled: dict[str, tuple[Callable[[Path], object], str]] = {
        "flipped": (_saved(ImageOps.mirror), "refuse"),
        "upside down": (_saved(ImageOps.flip), "refuse"),
        "turned": (_saved(lambda i: i.rotate(90)), "refuse"),
        "inverted": (_saved(ImageOps.invert), "refuse"),
        "black": (_saved(lambda i: Image.new("RGB", i.size)), "refuse"),
        "noise": (lambda p: Image.effect_noise((32, 32), 90).convert("RGB").save(p), "refuse"),
        "cropped": (_saved(lambda i: i.crop((6, 6, 26, 26)).resize((32, 32))), "refuse"),
        "moved": (_saved(lambda i: Image.fromarray(np.roll(np.asarray(i), 5, 1))), "refuse"),
        "larger": (_saved(lambda i: i.resize((64, 64), Image.Resampling.NEAREST)), ""),
        "stretched": (_saved(lambda i: i.resize((32, 48))), ""),
        "JPEG": (_saved(lambda i: i, format="JPEG", quality=90), ""),
        "poor JPEG": (_saved(lambda i: i, format="JPEG", quality=5), ""),
        "brighter": (_saved(lambda i: i.point(lambda v: min(v + 60, 255))), ""),
        "fewer colours": (_saved(lambda i: ImageOps.posterize(i, 2)), ""),
        "link": (lambda p: _no_file(p, "link"), ""),
        **{kind: ((lambda p, k=kind: _no_file(p, k)), "refuse") for kind in NO_FILES},
    }  # fmt: skip
    verbs = ("extract", "verify", "contribute", "score")
    for name, (change, must) in spoiled.items():
        for verb in ("extract", rng.choice(verbs[1:])):
            expected = must if verb != "score" or name in NO_FILES else ""
            yield Case("pairs", name, lambda place, c=change: c(place.adversarial), VERBS[verb], expected)
    yield Case("pairs", "swapped", swapped, VERBS["extract"], "refuse")
    yield Case("pairs", "swapped", swapped, VERBS["score"])
    equal = lambda place: place.adversarial.write_bytes(place.source.read_bytes())  # noqa: E731
    table: Callable[[Place], Path] = lambda place: place.root / "examples.csv"  # noqa: E731
    for verb in ("extract", "score", "check"):
        yield Case("pairs", "equal", equal, VERBS[verb], "refuse" if verb == "extract" else "answer")
        for column in (1, 2):
            yield Case(
                "pairs", f"column {column} of another row", _in(table, other_rows(column)), VERBS[verb], rows=False
            )


def _swap_column(text: str, column: int) -> str:
    """Move the values of a column one row down."""
    head, *rows = (
        [c.strip('"') for c in re.findall(r'("[^"]*"|[^,]*)(?:,|$)', line)][:9] for line in text.splitlines()
    )
    values = [row[column] for row in rows]
    for row, value in zip(rows, values[-1:] + values[:-1], strict=True):
        row[column] = value
    return "".join(",".join(f'"{v}"' if "," in v else v for v in row) + "\n" for row in (head, *rows))


# Weights and models


def _state(change: Callable[[dict[str, Any]], Any], to: str = "net.pt") -> Callable[[Place], object]:
    def spoil(place: Place) -> None:
        state = torch.load(place.weights, weights_only=True)
        torch.save(change(state), place.home / to)

    return spoil


def _each(change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {name: change(value) for name, value in state.items()}


def _weights(rng: random.Random) -> Iterator[Case]:
    states: dict[str, Callable[[dict[str, Any]], Any]] = {
        "one shape": lambda s: s | {"head.weight": torch.ones(7, 16)},
        "transposed": lambda s: s | {"head.weight": s["head.weight"].T},
        "one gone": lambda s: {k: v for k, v in s.items() if k != "head.bias"},
        "one more": lambda s: s | {"extra": torch.ones(1)},
        "nested": lambda s: {"state_dict": s, "epoch": 3},
        "nested otherwise": lambda s: {"model": s},
        "nested deep": lambda s: {"state_dict": {"state_dict": s}},
        "parallel": lambda s: {f"module.{k}": v for k, v in s.items()},
        "NaN": lambda s: s | {"head.weight": s["head.weight"] * float("nan")},
        "infinite": lambda s: s | {"first.weight": s["first.weight"] / 0},
        "whole": _each(lambda v: v.long()),
        "half": _each(lambda v: v.half()),
        "double": _each(lambda v: v.double()),
        "bfloat": _each(lambda v: v.bfloat16()),
        "complex": _each(lambda v: v.to(torch.complex64)),
        "yes and no": _each(lambda v: v > 0),
        "zeros": _each(torch.zeros_like),
        "vast": _each(lambda v: v * 1e20),
        "sparse": _each(lambda v: v.to_sparse()),
        "meta": _each(lambda v: v.to("meta")),
        "parameters": _each(torch.nn.Parameter),
        "numbers": _each(lambda v: v.tolist()),
        "numbered": lambda s: dict(enumerate(s.values())),
        "a list": lambda s: list(s.values()),
        "a tensor": lambda s: s["head.weight"],
        "empty": lambda s: {},
        "none": lambda s: None,
        "expanded": lambda s: s | {"head.bias": torch.ones(1).expand(4)},
        "float8": _each(lambda v: v.to(torch.float8_e4m3fn)),
        "quantised": lambda s: s | {"head.weight": torch.quantize_per_tensor(s["head.weight"], 0.1, 0, torch.qint8)},
    }
    file: Callable[[Place], Path] = lambda place: place.weights  # noqa: E731
    spoils = {name: _state(change) for name, change in states.items()}
    spoils |= {name: _in(file, change) for name, change in _damage(rng, 8, 5)}
    spoils |= {
        "empty file": lambda p: p.weights.write_bytes(b""),
        "text": lambda p: p.weights.write_text("weights"),
        "pickle": lambda p: p.weights.write_bytes(pickle.dumps({"head.weight": 1})),
        "pickled code": lambda p: p.weights.write_bytes(pickle.dumps(os.getcwd)),
        "whole model": lambda p: torch.save(torch.nn.Linear(16, 4), p.weights),
        "safetensors as pt": lambda p: save_file(torch.load(p.weights, weights_only=True), p.weights),
        "old format": lambda p: torch.save(
            torch.load(p.weights, weights_only=True), p.weights, _use_new_zipfile_serialization=False
        ),
    }
    for name, spoil in spoils.items():
        yield Case("weights", name, spoil, _verb(rng, "check", "score", "extract"))
    for kind in NO_FILES:
        yield Case("weights", kind, lambda p, k=kind: _no_file(p.weights, k), _verb(rng, "check", "score"), "refuse")
    for name, change in (("good", bytes), *_damage(rng, 3, 3), ("vast header", lambda d: b"\xff" * 8 + d[8:])):
        yield Case("weights", f"safetensors {name}", lambda p, c=change: _safetensors(p, c), VERBS["check"])


def _safetensors(place: Place, change: Bytes) -> None:
    path = place.home / "net.safetensors"
    save_file(torch.load(place.weights, weights_only=True), path)
    path.write_bytes(change(path.read_bytes()))
    _in(_toml, _value("weights", '"../net.safetensors"'))(place)


def _models(rng: random.Random) -> Iterator[Case]:
    for name in fuzz_models.NAMES:
        spoil = _in(_toml, _value("source", f'"fuzz_models:{name}"'))
        must = "answer" if name in fuzz_models.STEADY else "refuse" if name in fuzz_models.UNSOUND else ""
        yield Case("models", name, spoil, VERBS["score"], must)
        must = must if must == "refuse" else ""
        yield Case("models", name, spoil, _verb(rng, "attack", "extract", "learn", "verify", "contribute"), must)


# The store and the options


def _stored(rng: random.Random) -> Iterator[Case]:
    """Results that were spoiled on disk: every answer must be the one of the good workspace."""

    def pick(place: Place, at: float) -> Path:
        files = sorted((place.root / "cache").rglob("*.npz"))
        return files[int(at * len(files))]

    def exchanged(place: Place, at: float) -> None:
        file = pick(place, at)
        alike = sorted(file.parent.iterdir())
        file.write_bytes(alike[(alike.index(file) + 1) % len(alike)].read_bytes())

    changes: list[tuple[str, Callable[[Path], object]]] = [
        *((name, lambda path, c=change: path.write_bytes(c(path.read_bytes()))) for name, change in _damage(rng, 8, 8)),
        *((kind, lambda path, k=kind: _no_file(path, k)) for kind in (*NO_FILES, "link")),
        ("empty", lambda path: path.write_bytes(b"")),
        ("locked", lambda path: path.chmod(0)),
        ("pickle", lambda path: np.savez(path, seal=np.array([{}], object), tree=np.array([{}], object))),
        ("kind a pipe", lambda path: (shutil.rmtree(path.parent), os.mkfifo(path.parent))),
        ("kind a loop", lambda path: (shutil.rmtree(path.parent), path.parent.symlink_to(path.parent.name))),
    ]
    verbs = ("check", "score", "extract", "learn", "contribute", "verify")
    for name, change in changes:
        for _ in range(1 + (name in NO_FILES)):
            at = rng.random()
            yield Case("store", name, lambda p, a=at, c=change: c(pick(p, a)), _verb(rng, *verbs), "")
    for i in range(4):
        at = rng.random()
        yield Case("store", f"exchanged {i}", lambda p, a=at: exchanged(p, a), _verb(rng, *verbs), "answer")
    yield Case(
        "store", "a file", lambda p: (shutil.rmtree(p.root / "cache"), (p.root / "cache").touch()), VERBS["extract"]
    )


_OPTIONS = """
score {root} --example nope|score {root} --example ""|extract {root} --example {id} --share nan
extract {root} --example {id} --share -1|extract {root} --example {id} --share 1e308
extract {root} --example {id} --share inf
extract {root} --example {id} --share 1|extract {root} --example {id} --share 0.000001
extract {root} --example {id} {id}
extract {root} --example {id} --method nope|extract {root} --example {id} --target nope.png|extract {root} --allow-large
extract {root} --example {id} --target {source}|extract {root} --example {id} --method random|extract {root} --set
extract {root} --example {id} --method dgr|extract {root} --example {id} --method constrained --share .5
extract {root} --set --example {id} --target nope|extract {root} --example nope --allow-large
attack {root} --epsilon nan|attack {root} --epsilon -1|attack {root} --epsilon 0.5|attack {root} --epsilon 256
attack {root} --epsilon 1e308|attack {root} --epsilon inf|attack {root} --steps 0|attack {root} --steps 1000000000
attack {root} --steps 2.5|attack {root} --momentum nan|attack {root} --momentum 3|attack {root} --target nope
attack {root} --target ""|attack {root} --target -1|attack {root} --target 99|attack {root} --target nearest --steps 2
attack {root} --target ² --steps 2|attack {root} --image nope.png|attack {root} --image ../net.pt
attack {root} --image ""
attack {root} --image {source} {source} --steps 2|attack {root} --class nope|attack {root} --class 1.5
attack {root} --class rows --target rows|attack {root} --epsilon 255 --steps 1|attack {root} --epsilon 1.5 --steps 2
contribute {root} --example {id} --layer nope --map 1|contribute {root} --example {id} --layer relu_2 --map 99
contribute {root} --example {id} --layer relu_2 --map -1|contribute {root} --example {id} --layer relu_2
contribute {root} --example {id} --layer relu_2 --map 1 --area 0,0,-1,-1
contribute {root} --example {id} --layer relu_2 --map 1 --area 5,5,2,2
contribute {root} --example {id} --layer relu_2 --map 1 --area 0,0,1000000000,1000000000
contribute {root} --example {id} --layer relu_2 --map 1 --most-active 0
contribute {root} --example {id} --layer relu_2 --map 1 --most-active 1000000
contribute {root} --example {id} --layer relu_2 --map 1 --most-active 3 --area 0,0,2,2
contribute {root} --example {id} --layer relu --map 1|contribute {root} --example {id} --from relu_9
contribute {root} --example {id} --layer relu_1 --map 1 --from relu_2 --how exact
contribute {root} --example {id} --how nope
contribute {root} --example {id} --layer relu_2 --map 1 --on tar|contribute {root} --example {id} --how exact
verify {root} --example {id} --layer nope|verify {root} --example {id} --layer relu_1 --map 99
verify {root} --example {id} --layer relu_1 --map -1|verify {root} --example {id} --map 1
verify {root} --example {id} --layer relu relu_1 --map 1|verify {root} --example {id} --layer relu_1 --map 1 1 1
verify {root} --example {id} --replace nope|verify {root} --example {id} --replace zero --random 3
verify {root} --example {id} --replace mean --random 3|verify {root} --example {id} --random 0
verify {root} --example {id} --random 1000000000000|verify {root} --example {id} --seed -1
verify {root} --example {id} --seed 4294967295 --random 3|verify {root} --example {id} --replace adversarial --random 3
learn {root} --layer relu --map 1|learn {root} --layer relu --map 99 --figure {home}/x.png
learn {root} --layer relu --map 1 --figure /dev/full|learn {root} --layer relu --map 1 --figure {home}
learn {root} --layer relu --map 1 --figure {root}/images.csv/x.png|learn {root} --layer "" --map 1 --figure {home}/x.png
check {home}/nowhere|check {home}/net.pt|check ""|check {root}/workspace.toml|score {home}/photos|check /dev/zero
init {root} --model fuzz_models:net --images {home}/photos --classes {home}/classes.txt --input-size 32
init {home}/new --model fuzz_models:net --images {home}/nowhere --classes {home}/classes.txt --input-size 32
init {home}/new --model fuzz_models:net --images {home}/photos --classes {home}/nowhere --input-size 32
init {home}/new --model fuzz_models:net --images {home}/photos --input-size 32
init {home}/new --model fuzz_models:net --images {home}/photos --classes {home}/classes.txt
init {home}/net.pt --model fuzz_models:net --images {home}/photos --classes {home}/classes.txt --input-size 32
init {home}/net.pt/x --model fuzz_models:net --images {home}/photos --classes {home}/classes.txt --input-size 32
init {home}/new --model os:abort --images {home}/photos --classes {home}/classes.txt --input-size 32
init {home}/new --model torchvision:nope --weights DEFAULT --images {home}/photos --classes {home}/classes.txt
init {home}/new --model torchvision:resnet18 --images {home}/photos|init {home}/new --model net --images {home}/photos
init {home}/new --model :net --images {home}/photos --input-size 32|init {home}/new --model "" --images {home}/photos
init {home}/new --model a..b:net --images {home}/photos --classes {home}/classes.txt --input-size 32
init {home}/new --model .:net --images {home}/photos --classes {home}/classes.txt --input-size 32
init {home}/photos --model fuzz_models:net --images {home}/photos --classes {home}/classes.txt --input-size 32
"""
_INIT_OPTIONS = """--input-size 0|--input-size 99999|--input-size 8x200|--input-size 1|--std 0,0,0|--std nan,1,1
--std 1e-300,1,1|--mean nan,0,0|--mean inf,0,0|--mean 1e300,0,0|--value-range=1,1|--value-range=nan,1|--value-range=1,-1
--resize-size 0|--resize-size 40x30|--resize-size 4096|--resize-size 8|--fit nope|--fit squeeze --resize-size 40
--fit pad
--interpolation nope|--interpolation bicubic|--weights {home}/nope.pt|--weights DEFAULT|--weights {home}/photos"""


def _options(rng: random.Random) -> Iterator[Case]:
    for line in re.split(r"[|\n]", _OPTIONS.strip()):
        yield Case("options", line, lambda place: None, [part.strip('"') for part in line.split()])
    for line in re.split(r"[|\n]", _INIT_OPTIONS):
        yield Case("options", line, lambda place: None, [*INIT, *line.split()])
