"""Reading a file of weights without running any code that it holds; what is no such file is told by what it is."""

import pickletools
import re
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from aevis_dash.domain import AevisError, reason_of, so_many

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
"""The ends of names that are taken for files of weights, whether or not there is such a file."""
_PEEK = 1024
_TORCH_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How a file begins that torch.save wrote before torch 1.6: a pickle of a number."""
_PICKLES = 4
"""The pickles at the beginning of such a file: that number, a version, the machine's properties, and the contents."""
_PLAIN = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\.(\w+Storage|Size|device|\w*int\d*|b?float\w*|complex\d+|bool|double|half|long)"
    r"|torch\.(storage\.(Unt|T)ypedStorage|nn\.parameter\.Parameter|_tensor\._rebuild_from_type_v2|Tensor)"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode"
)
"""The names in a pickle that torch reads as plain tensors and dicts."""
_NO_DICTS = ("numpy", "functools")
"""The modules whose things are no dicts; their state is no dict either."""
_AGAIN = "Download or copy it again."
JOIN_PARTS = (
    "Put all parts into one file: load the model from its folder with the library that saved it, and save "
    "model.state_dict()."
)
"""What to do with weights that lie in several files."""
_UNPACK = "Unpack it, and give the file of weights that is inside."
_KINDS = (
    (
        b"version https://git-lfs",
        "is a pointer of git-LFS that stands for the weights. Fetch the weights themselves with `git lfs pull`.",
    ),
    (b"\x93NUMPY", "is an array of numpy, not weights under their names. Save model.state_dict() with torch.save."),
    (b"\x89HDF", "is an HDF5 file, as Keras and TensorFlow write it. Give the weights of the same model in torch."),
    (b"GGUF", "is a GGUF file of a language model. Give the weights of an image classifier."),
    (b"\x1f\x8b", f"is compressed by gzip. {_UNPACK}"),
    (b"BZh", f"is compressed by bzip2. {_UNPACK}"),
    (b"\xfd7zXZ", f"is compressed by xz. {_UNPACK}"),
    (b"7z\xbc\xaf", f"is a 7z archive. {_UNPACK}"),
    (b"Rar!", f"is a rar archive. {_UNPACK}"),
)
"""How files of other kinds begin, and what they are, with what to do."""


@dataclass(frozen=True)
class FileContents:
    """The contents of a file of weights.

    Attributes:
        tree: what was saved: a dict of tensors, or dicts, lists and values around it.
        unopened: the classes and functions, other than plain tensors and dicts, that the file's pickle names. None of
            them was imported or called; each thing that they would have made is replaced by one that holds nothing.
    """

    tree: Any
    unopened: tuple[str, ...] = ()


class _Unopened:
    """What stands in place of a thing that a pickle would have made by a class or function; it keeps nothing."""

    def __new__(cls, *_args: Any, **_options: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_options: Any):
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


class _UnopenedDict(_Unopened):
    """The same for what may be a kind of dict: torch puts items only into a plain one."""

    def __new__(cls, *_args: Any, **_options: Any) -> Any:
        return OrderedDict[Any, Any]()


def read_weights(path: Path) -> FileContents:
    """Read a file of weights.

    Raises:
        AevisError: the file is missing or cannot be read, or it is no file of tensors; the message says what it is.
    """
    if path.exists() and not path.is_file():
        raise AevisError(f"{path} is a folder or a device, not a file of weights. Name the file itself.")
    if not path.is_file():
        raise AevisError(f"There is no weights file {path}. Mend `weights` in workspace.toml or --weights.")
    try:
        with path.open("rb") as file:
            head = file.read(_PEEK)
        if not head:
            raise AevisError(f"The weights file {path} is empty. Save or copy it again.")
        if other := _other_kind(path, head):
            raise AevisError(f"{path} {other}")
        is_torch = not _is_safetensors(path, head) and head.startswith((b"PK", _TORCH_PICKLE))
        return _read_torch(path) if is_torch else FileContents(load_file(path))
    except OSError as error:
        raise AevisError(
            f"The weights file {path} cannot be read ({error.strerror or error}). Copy it again."
        ) from error
    except SafetensorError as error:
        raise AevisError(f"{path} is not a readable safetensors file ({error}). Save or copy it again.") from error


def _is_safetensors(path: Path, head: bytes) -> bool:
    """Tell whether a file begins with the length of a header and its JSON; the length may look like another kind."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def _other_kind(path: Path, head: bytes) -> str:
    """Say what a file is that is no file of tensors, with what to do; "" where it may be one."""
    if _is_safetensors(path, head):
        return ""
    for magic, what in _KINDS:
        if head.startswith(magic):
            return what
    if head[257:262] == b"ustar":
        return f"is a tar archive. {_UNPACK}"
    if head[:2] == b"PK":
        return _other_zip(path)
    if head[:1] == b"\x80" and not head.startswith(_TORCH_PICKLE) and head[1:2] <= b"\x05":
        return _other_pickle(path)
    if text := _text(head):
        if re.search(r"<(!doctype|html|\?xml)", text[:400].lower()):
            return (
                f"is a web page and not the weights, so a download went wrong. {_AGAIN} The site may ask for a login."
            )
        if path.name.endswith(".index.json"):
            return f"lists the parts of weights that lie in several files. {JOIN_PARTS}"
        return f"is a text, which begins {text.strip()[:40]!r}, and not a file of weights. {_AGAIN}"
    if path.suffix == ".safetensors" or head.startswith(_TORCH_PICKLE):
        return ""
    return (
        "is not a file of plain tensors: it begins neither as a safetensors file nor as one of torch.save. If it was "
        f"one, it is damaged. {_AGAIN}"
    )


def _text(head: bytes) -> str:
    """The beginning of a text in UTF-8; "" where the bytes are no text."""
    try:
        text = head[: head.rfind(b" ") if len(head) == _PEEK and b" " in head else None].decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""
    return text if all(c.isprintable() or c in "\r\n\t" for c in text) else ""


def _other_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, EOFError):
        size = path.stat().st_size
        return f"is not a file of plain tensors: it is cut off or damaged, and has {size} bytes left. {_AGAIN}"
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside:
        return (
            "is a TorchScript archive, which is a compiled program. Save its weights alone: "
            f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pt')."
        )
    if "data.pkl" in inside:
        return ""
    if names and all(name.endswith(".npy") for name in names):
        return "is an archive of numpy's savez. Save the arrays as tensors under the model's names with torch.save."
    weights = [name for name in names if name.endswith((*SUFFIXES, ".tar"))]
    if weights:
        return f"is a zip archive with {weights[0]} inside. Unpack it, and give that file."
    such = f", such as {', '.join(names[:2])}" if names else ""
    return (
        f"is a zip archive of {so_many(len(names), 'other file')}{such}, not weights that torch.save wrote. {_UNPACK}"
    )


def _other_pickle(path: Path) -> str:
    """Say what a pickle is that torch.save did not write."""
    with path.open("rb") as file:
        names, _ = _names_in(file)
    if any(name.startswith("numpy") for name in names):
        return (
            "is not a file of plain tensors, so it is not opened: it is a pickle of numpy arrays. Where you trust it, "
            "open it with pickle, and save the arrays as tensors under the model's names with torch.save."
        )
    return (
        "is not a file of plain tensors, so it is not opened: it is a pickle that torch.save did not write"
        f"{_would_run(names)}. Save the weights again with torch.save(model.state_dict(), ...)."
    )


def _would_run(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f", and opening it would run {', '.join(names[:3])}{more}" if names else ""


def _read_torch(path: Path) -> FileContents:
    """Read what torch.save wrote, with stand-ins for everything that is made by other classes and functions."""
    names, strings = _named_in(path)
    if {"_parameters", "_modules"} <= strings:
        kind = next((name for name in names if not name.startswith("torch.")), names[0] if names else "a class")
        raise AevisError(
            f"{path} is not a file of plain tensors, so it is not opened: it is a whole model, of {kind}"
            f"{_would_run(names)}. Where you trust it, save its weights alone: model = torch.load({path.name!r}, "
            "weights_only=False); torch.save(model.state_dict(), 'weights.pt')."
        )
    stand_ins: list[Any] = [_stand_in(name) for name in names if not name.startswith("torch.")]
    try:
        with torch.serialization.safe_globals(stand_ins), path.open("rb") as file:
            return FileContents(torch.load(file, "cpu", weights_only=True), names)
    except OSError:
        raise
    except Exception as error:  # torch.load refuses with pickle, zip, runtime and type errors.
        why = "" if names else f" ({reason_of(error)[:200]})"
        raise AevisError(
            f"{path} is not a file of plain tensors, so it is not opened{_would_run(names)}. Save it again with "
            f"torch.save(model.state_dict(), ...) or safetensors; if it was such a file, copy it again.{why}"
        ) from error


def _stand_in(name: str) -> Callable[..., Any]:
    """A class that goes by the name of one that a pickle names, and makes nothing."""
    module, _, own = name.rpartition(".")
    kind = _Unopened if module.startswith(_NO_DICTS) else _UnopenedDict
    return type(own, (kind,), {"__module__": module, "__qualname__": own})


def _named_in(path: Path) -> tuple[tuple[str, ...], set[str]]:
    """The names of what a pickle of torch.save would import that is no plain tensor or dict, and all its texts."""
    names, strings = dict[str, None](), set[str]()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            record = next(name for name in archive.namelist() if name.partition("/")[2] == "data.pkl")
            try:
                with archive.open(record) as file:
                    found, strings = _names_in(file)
            except zipfile.BadZipFile:
                return (), set()
        names.update(dict.fromkeys(found))
    else:
        with path.open("rb") as file:
            for _ in range(_PICKLES):
                found, texts = _names_in(file)
                names.update(dict.fromkeys(found))
                strings |= texts
    return tuple(name for name in names if not _PLAIN.fullmatch(name)), strings


def _names_in(file: IO[bytes]) -> tuple[tuple[str, ...], set[str]]:
    """The names of all that a pickle would import, in their order, and all its texts; as far as it can be read."""
    names: dict[str, None] = {}
    texts: list[str] = []
    memo: dict[int, str | None] = {}
    last: str | None = None
    try:
        for name, arg in _operations(file):
            if name in ("GLOBAL", "STACK_GLOBAL"):
                names[_full_name(*(texts[-2:] if name == "STACK_GLOBAL" else arg.split(" ", 1)))] = None
            if name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if name == "MEMOIZE" else arg] = last
                continue
            last = memo.get(arg) if name in ("BINGET", "LONG_BINGET") else arg if "UNICODE" in name else None
            if last is not None:
                texts.append(last)
    except Exception:  # A damaged pickle ends in errors of many kinds, and what it named before counts.
        return tuple(names), set(texts)
    return tuple(names), set(texts)


def _full_name(module: str, name: str) -> str:
    """A name as Python 3 knows it; the pickles of torch.save call it as Python 2 did."""
    module, name = NAME_MAPPING.get((module, name), (module, name))
    return f"{IMPORT_MAPPING.get(module, module)}.{name}"


def _operations(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    yield from ((operation.name, arg) for operation, arg, _ in pickletools.genops(file))
