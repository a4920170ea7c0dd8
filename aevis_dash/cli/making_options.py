"""The options of the verbs that make workspaces. It is loaded without torch."""

import argparse
from pathlib import Path

from aevis_dash.cli import numbers
from aevis_dash.cli.array_options import array_reading, count_from
from aevis_dash.domain import FITS, INTERPOLATIONS, MOST_CHANNELS


def init(verb: argparse.ArgumentParser) -> None:
    """The options of `init`."""
    verb.add_argument("workspace", type=Path, metavar="DIR", help="where to make it")
    verb.add_argument("--model", required=True, help="torchvision:NAME, timm:NAME, module:factory or FILE.py:factory")
    verb.add_argument(
        "--model-args",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="the arguments that the model is made with, or one JSON object of them",
    )
    verb.add_argument("--weights", default="", help="a file of tensors, or a name that the model's library knows")
    verb.add_argument(
        "--weights-key",
        default="",
        metavar="KEY",
        help="which of the file's sets of weights is taken, such as model_ema (default: the first that fits and is no "
        "average)",
    )
    verb.add_argument(
        "--leaf",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="modules that torch.fx cannot trace and that are kept whole, by name or class; they get no maps",
    )
    verb.add_argument(
        "--like",
        type=Path,
        metavar="WORKSPACE",
        help="take the images, labels and pairs of this workspace, to set its model beside this one (aevis beside)",
    )
    verb.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER|FILE|torchvision:NAME",
        help="the normal images, a batch of them (.npy, .npz, .pt, .safetensors), or a data set of torchvision",
    )
    verb.add_argument(
        "--root",
        type=Path,
        metavar="FOLDER",
        help="where the files of a data set of torchvision lie; nothing is downloaded",
    )
    verb.add_argument(
        "--split", metavar="NAME", help="which part of a data set, as torchvision names it (default: the one for tests)"
    )
    verb.add_argument("--first", type=numbers.count(10_000_000), metavar="N", help="take only the first N images")
    verb.add_argument(
        "--per-class", type=numbers.count(10_000_000), metavar="N", help="take only the first N images of each class"
    )
    verb.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="a table of file and class, or for a batch an array; default: sub-folder names, or the batch's own file",
    )
    count_from(verb)
    array_reading(verb)
    verb.add_argument(
        "--classes", type=Path, metavar="FILE", help="class names, one a line, or JSON; default: the library's"
    )
    verb.add_argument("--input-size", type=numbers.size, metavar="N|HxW", help="the model's input in pixels")
    verb.add_argument("--mean", type=numbers.many(), metavar="A,B,C", help="subtracted from each channel")
    verb.add_argument("--std", type=numbers.many(), metavar="A,B,C", help="what each channel is divided by")
    verb.add_argument(
        "--channels",
        type=numbers.count(MOST_CHANNELS),
        metavar="N",
        help="of the model's input where neither --mean nor --std is given: 1 for grey levels (default: 3)",
    )
    verb.add_argument(
        "--value-range", type=numbers.many(2), metavar="LO,HI", help="of the pixels; say --value-range=-1,1"
    )
    verb.add_argument(
        "--fit",
        choices=FITS,
        help="how an image of another size becomes as large as the input: squeezed whole, its centre cropped, or "
        "padded (default: as the model's library does; crop for a model of your own)",
    )
    verb.add_argument(
        "--resize-size",
        type=numbers.size,
        metavar="N|HxW",
        help="to what images are scaled before that (default: the input)",
    )
    verb.add_argument(
        "--interpolation",
        choices=INTERPOLATIONS,
        help="how they are scaled (default: as the model's library does, else bilinear)",
    )
    verb.add_argument("--skip-unreadable", action="store_true", help="leave out bad images instead of stopping")


def world(verb: argparse.ArgumentParser) -> None:
    """The options of `world`."""
    verb.add_argument("workspace", type=Path, metavar="DIR", help="where to make it")
    verb.add_argument("--train", action="store_true", help="train the network anew instead of taking the shipped one")
    verb.add_argument("--seed", type=numbers.seed, default=0, help="of the training (default: %(default)s)")
    verb.add_argument(
        "--drawings", type=numbers.count(100_000), default=8000, help="to train on (default: %(default)s)"
    )
    verb.add_argument("--epochs", type=numbers.count(1000), default=3, help="default: %(default)s")
