"""Files of arrays that other tools write (.npy, .npz, .pt, .safetensors), read without running code that they hold."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from aevis_dash.domain import AevisError, reason_of

SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")
"""The ends of names of files that are read as arrays."""
ADVERSARIALS, SOURCES, LABELS = "adversarials", "sources", "labels"
"""What an array of a file may be."""
_NAMES = {
    ADVERSARIALS: "xadv advx adv advs adversarial adversarials adversarialimages adversarialexamples advimages "
    "imagesadv advinputs advcomplete advexamples perturbed xperturbed",
    SOURCES: "clean cleanimages cleaninputs xclean source sources original originals xorig benign natural xnat",
    LABELS: "y label labels ytrue truelabel truelabels trueclass classes",
}
"""The names that say what an array is, without spaces, hyphens and underscores."""
_ANY_IMAGES = "x xs image images img imgs input inputs data xtest"
"""The names that say of an array only that it holds images; beside one that is called adversarial it is the sources."""

_OBJECTS = re.compile("pickle|object arrays|Python objects|weights_only|Unsupported", re.IGNORECASE)
"""What numpy and torch say where a file holds Python objects."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file by their names; an array that was saved alone, of any shape (...), is called "".

    Raises:
        AevisError: there is no such file, it cannot be read as arrays, or it holds Python objects, which would run code
            and are never loaded.
    """
    if not path.is_file():
        raise AevisError(f"There is no file {path}. Give a file of arrays ({', '.join(SUFFIXES)}).")
    with path.open("rb") as file:
        head = file.read(16)
    try:
        if head.startswith(b"\x93NUMPY"):
            found = {"": np.load(path, mmap_mode="r", allow_pickle=False)}
        elif path.suffix.lower() == ".npz" or _is_npz(path):
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
        elif path.suffix.lower() == ".safetensors" or head[8:9] == b"{":
            found = {name: _as_numpy(tensor) for name, tensor in load_file(path).items()}
        elif head.startswith((b"PK", b"\x80\x02\x8a")):
            tree = torch.load(path, "cpu", weights_only=True)
            found = {".".join(names): _as_numpy(tensor) for names, tensor in _tensors(_stacked(tree))}
        else:
            raise AevisError(
                f"{path} is no file of arrays: it begins neither as a .npy or .npz of numpy nor as a file of torch.save"
                " or safetensors. Save the arrays with numpy.savez."
            )
    except AevisError:
        raise
    except MemoryError as error:
        raise AevisError(f"The arrays in {path} do not fit into the memory. Save them in several files.") from error
    except Exception as error:  # numpy, zipfile, torch and safetensors refuse with errors of many kinds
        raise AevisError(_why_not(path, error)) from error
    if not found:
        raise AevisError(f"{path} holds no array. Save the arrays under their names, such as x and x_adv.")
    return found


def _is_npz(path: Path) -> bool:
    """Whether a file is numpy's archive, whatever it is called."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return bool(archive.namelist()) and all(name.endswith(".npy") for name in archive.namelist())


def array_of(images: Any) -> np.ndarray:
    """The numbers of an array, a tensor, or a list of them, of any shape (...). Tensors may be on any device, of half
    precision and with a gradient."""
    if isinstance(images, torch.Tensor):
        return _as_numpy(images)
    if isinstance(images, list | tuple):
        return np.asarray([array_of(one) for one in images])
    return np.asarray(images)


def _as_numpy(tensor: torch.Tensor) -> np.ndarray:
    plain = (tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()).cpu()
    return (plain.float() if plain.dtype is torch.bfloat16 else plain).numpy()


def _stacked(tree: Any) -> Any:
    """What torch.save saved, with a list of images, each (C, H, W), (H, W, C) or (H, W) and all of one shape, as one
    batch. Two arrays are more often the images and their adversarials, and are left alone."""
    if isinstance(tree, Mapping):
        return {key: _stacked(value) for key, value in tree.items()}
    if not isinstance(tree, list | tuple) or len(tree) <= 2 or not all(isinstance(one, torch.Tensor) for one in tree):
        return tree
    shape = tree[0].shape
    an_image = len(shape) == 2 or (len(shape) == 3 and min(shape[0], shape[2]) <= 4)
    alike = len({(one.shape, one.dtype) for one in tree}) == 1
    return torch.stack([*tree]) if an_image and alike else tree


def _tensors(tree: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], torch.Tensor]]:
    """The tensors in what torch.save saved, each with the keys and places by which it is reached."""
    if isinstance(tree, torch.Tensor):
        yield above, tree
    elif isinstance(tree, Mapping | list | tuple):
        for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from _tensors(value, (*above, str(key)))


def _why_not(path: Path, error: Exception) -> str:
    reason = reason_of(error)
    if _OBJECTS.search(f"{type(error).__name__} {error}"):
        return (
            f"{path} holds Python objects, which may run code, so it is not opened. Save plain arrays of numbers: "
            "numpy.savez(file, x=x, x_adv=x_adv), with tensors as x.cpu().numpy()."
        )
    return (
        f"The arrays in {path} cannot be read ({reason[:120]}). The file is damaged or cut off; save or copy it again."
    )


def choose_array(path: Path, arrays: Mapping[str, np.ndarray], what: str, key: str | None = None) -> str:
    """The name of the array in a file that holds the adversarials, the sources or the labels.

    Args:
        path: the file, for error messages.
        arrays: its arrays of any shape (...) by name. Images are those of four axes or, where there is none, of three,
            which are grey. Labels are those of one or two.
        what: ADVERSARIALS, SOURCES or LABELS.
        key: the array's name where the user gave it.

    Raises:
        AevisError: where no array can be it, or more than one and none is named so.
    """
    if key is not None:
        if key not in arrays:
            raise AevisError(f"{path} has no array {key!r}. It holds {_listed(arrays)}.")
        return key
    fitting = [name for name, array in arrays.items() if array.ndim in ((1, 2) if what == LABELS else _axes(arrays))]
    others = {word for other, words in _NAMES.items() if other != what for word in words.split()}
    left = [name for name in fitting if _plain(name) not in others]
    named = [name for name in left if _plain(name) in _NAMES[what].split()]
    if not named and what == SOURCES:
        named = [name for name in left if _plain(name) in _ANY_IMAGES.split()]
    chosen = named or left
    if len(chosen) == 1:
        return chosen[0]
    axes_in_words = (
        "one axis"
        if what == LABELS
        else ("four axes (images, height, width and channels in some order), or three of grey images,")
    )
    if not chosen:
        raise AevisError(f"{path} holds no {what}: an array of {axes_in_words} is needed. It holds {_listed(arrays)}.")
    single = len(chosen) > 2 and all(arrays[name].ndim == 3 for name in chosen)
    remedy = "Where each is one image, save them as one array: torch.stack(images)." if single else _CHOOSE[what]
    raise AevisError(f"{path} holds several arrays that may be the {what}: {_listed(arrays)}. {remedy}")


def _axes(arrays: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """How many axes the batches of images in a file have: four, or three where all of them are grey."""
    return (4,) if any(array.ndim == 4 for array in arrays.values()) else (3,)


_CHOOSE = {
    ADVERSARIALS: "Name one with --key.",
    SOURCES: "Name one with --sources-key.",
    LABELS: "Save the labels alone and give them with --labels.",
}


def names_sources(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether one array of a file, of any shape (...), is called as the sources of its adversarials are."""
    known = f"{_NAMES[SOURCES]} {_ANY_IMAGES}".split()
    called = [name for name, array in arrays.items() if array.ndim in _axes(arrays)]
    return len(called) > 1 and any(_plain(name) in known for name in called)


def names_labels(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether one array of a file, of any shape (...), is called as labels are."""
    return any(_plain(name) in _NAMES[LABELS].split() for name, array in arrays.items() if array.ndim in (1, 2))


def in_words(path: Path, name: str) -> str:
    """An array of a file in words, such as "x_adv of batch.npz"."""
    return f"{name} of {path.name}" if name else path.name


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.rpartition(".")[2]).casefold()


def _listed(arrays: Mapping[str, np.ndarray]) -> str:
    """The arrays with their shapes, the first six."""
    shown = [f"{name or 'one array'} ({' x '.join(map(str, a.shape))})" for name, a in list(arrays.items())[:6]]
    return ", ".join(shown) + (f" and {len(arrays) - 6} more" if len(arrays) > 6 else "")
