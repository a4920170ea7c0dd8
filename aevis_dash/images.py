"""Image files: reading those that a network can be shown, refusing all others, and writing images."""

import errno
import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from aevis_dash.domain import AevisError, Preprocessing, so_many
from aevis_dash.files import write_file
from aevis_dash.fitting import fit, fit_bands, fit_mask, scaled_size
from aevis_dash.reading import read_bytes

_NO_PICTURES = frozenset(
    {"BUFR", "EPS", "FITS", "FLI", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "MPEG", "PCD", "WAL", "WMF", "XVTHUMB"}
)
"""The formats that Pillow knows but that hold no still pictures of pixels, or that Pillow hands to other programs."""
_HOUSEKEEPING = frozenset({"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN", "lost+found"})
"""Files and folders that operating systems put beside a user's files."""
SMALLEST, MOST_PIXELS = 8, 50_000_000
"""The least number of pixels of an image's side, and the largest number of pixels of an image."""

MODES = {1: "L", 3: "RGB"}
"""How Pillow calls images of one and of three channels. Images of any other number are arrays of numpy."""
BANDS = ".npy"
"""The suffix of the files of such images."""

DIM = 0.3
"""The part of its brightness that an image keeps where a feature map is silent (see `spotlight`)."""


def read_image(path: Path, wanted: Preprocessing) -> np.ndarray:
    """An image file as an 8-bit image (H, W, C) at the model's input size, upright.

    Raises:
        AevisError: where the file cannot be read, or as `decode_image`.
    """
    return decode_image(image_bytes(path), path, wanted)


def image_bytes(path: Path, what: str = "image") -> bytes:
    """The bytes of an image file. Raises AevisError, which calls the file `what`, where they cannot be read."""
    with refusing_unreadable(path, what):
        return read_bytes(path)


@contextmanager
def refusing_unreadable(path: Path, what: str = "image", where: Callable[[], str] = str) -> Iterator[None]:
    """Turn an OSError at reading the file `path` into an AevisError, which calls the file `what` and ends in the
    sentence of `where` on where such files are looked for."""
    try:
        yield
    except OSError as error:
        found = f"The {what} {path} cannot be read ({error.strerror})."
        if isinstance(error, FileNotFoundError):
            found = f"There is no {what} {path}."
        raise AevisError(f"{found} Put it back, or drop its row from the table. {where()}".rstrip()) from error


def decode_image(data: bytes, path: Path, wanted: Preprocessing) -> np.ndarray:
    """The bytes of an image file as an 8-bit image (H, W, C) at the model's input size, upright.

    An image is read as colours for a model of three channels, and as grey levels for one of one channel. For any other
    number of channels the file is an array of numpy, because picture formats do not hold them.

    Args:
        data: the bytes of the file.
        path: the file, for error messages.
        wanted: the size and the channels, and how the image is brought to that size.

    Raises:
        AevisError: for what is no 8-bit still picture of sensible size, or no array of so many channels.
    """
    if wanted.channels not in MODES:
        bands = _bands(data, path, wanted.channels)
        _refuse_elongated((bands.shape[1], bands.shape[0]), path, wanted)
        return fit_bands(bands, wanted)
    image = _upright(data, path).convert(MODES[wanted.channels])
    _refuse_elongated(image.size, path, wanted)
    return np.asarray(fit(image, wanted)).reshape(*wanted.input_size, wanted.channels)


def _refuse_elongated(size: tuple[int, int], path: Path, wanted: Preprocessing) -> None:
    width, height = scaled_size(size, wanted)
    if width * height > MOST_PIXELS:
        raise AevisError(
            f"The image {path} has {size[0]} x {size[1]} pixels; scaled as workspace.toml says it would have "
            f"{width} x {height}, which is too many. Cut it to a less elongated form."
        )


def _bands(data: bytes, path: Path, channels: int) -> np.ndarray:
    """The bytes of a file of numpy as an 8-bit image (H, W, C)."""
    many = f"The model's input has {channels} channels, so images are files of numpy (.npy)"
    shapes = f"H x W x {channels} or {channels} x H x W of 8-bit numbers (uint8)"
    if path.suffix.lower() != BANDS:
        raise AevisError(f"{path} is no image for this model. {many} with an array of {shapes}.")
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise AevisError(f"The image {path} cannot be read ({error}). {many} with an array of {shapes}.") from error
    axes = [axis for axis in (0, 2) if found.ndim == 3 and found.shape[axis] == channels]
    if found.dtype != np.uint8 or not axes:
        raise AevisError(
            f"The image {path} holds an array of the shape {tuple(found.shape)} and the type {found.dtype}. {many} "
            f"with an array of {shapes}."
        )
    if len(axes) > 1:
        raise AevisError(
            f"The image {path} has the shape {tuple(found.shape)}, where the first axis or the last may hold the "
            "channels. Cut it to another size, or give all images in one file, with --layout."
        )
    bands = found if axes == [2] else np.moveaxis(found, 0, -1)
    _refuse_size(bands.shape[1], bands.shape[0], path)
    return bands


def read_mask(path: Path, image: Path, wanted: Preprocessing) -> np.ndarray:
    """The mask of an image: the number of the part at each pixel, uint8 (H, W), at the model's input size; 0 on
    borders.

    The mask file is as large as the upright image and is fitted as the image is, or it has the model's input size
    already.

    Args:
        path: the file of the mask.
        image: the file of the image that it belongs to.
        wanted: the size, and how the image is brought to it.

    Raises:
        AevisError: for a mask of another size, and for what is no 8-bit grey picture.
    """
    mask = _upright(image_bytes(path, "mask"), path, "mask")
    if mask.mode not in ("L", "P"):
        bands = np.asarray(mask.convert("RGB"))
        if (bands != bands[..., :1]).any():
            raise AevisError(f"The mask {path} has colours. Save the parts' numbers as grey levels.")
        mask = Image.fromarray(np.ascontiguousarray(bands[..., 0]))
    height, width = wanted.input_size
    whole = image_size(image, wanted.channels)
    if mask.size not in ((width, height), whole):
        raise AevisError(
            f"The mask {path} has {mask.width} x {mask.height} pixels, and its image {whole[0]} x {whole[1]}. Save it "
            f"as large as its image, or at the model's input size, {width} x {height}, as the model sees the image."
        )
    return np.asarray(fit_mask(Image.fromarray(np.asarray(mask)), wanted))


def image_size(path: Path, channels: int = 3, where: str = "") -> tuple[int, int]:
    """The (width, height) in pixels of an image file, upright. Raises AevisError as `read_image`, which ends in a
    sentence on where such files are looked for."""
    with refusing_unreadable(path, where=lambda: where):
        data = read_bytes(path)
    if channels not in MODES:
        bands = _bands(data, path, channels)
        return bands.shape[1], bands.shape[0]
    with _open_image(data, path) as image:
        sideways = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (image.height, image.width) if sideways else image.size


def _upright(data: bytes, path: Path, what: str = "image") -> Image.Image:
    with _open_image(data, path, what) as image:
        return ImageOps.exif_transpose(image)


@contextmanager
def _open_image(data: bytes, path: Path, what: str = "image") -> Iterator[Image.Image]:
    """Open the image that these bytes of a file hold. Whatever Pillow raises meanwhile becomes an AevisError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data)) as image:
                _refuse_image(image, data, path)
                yield image
        except AevisError:
            raise
        except Image.DecompressionBombError as error:
            raise AevisError(_too_large(path, "far more than")) from error
        except Exception as error:  # on damaged files Pillow raises IndexError, TypeError, struct.error and others
            unknown = isinstance(error, UnidentifiedImageError)
            reason = "its format is unknown" if unknown else str(error) or type(error).__name__
            raise AevisError(
                f"The {what} {path} cannot be read ({reason}); it is truncated or not an image. Save or copy it again."
            ) from error


def image_suffix(channels: int) -> str:
    """The suffix of the files in which images of so many channels are written."""
    return ".png" if channels in MODES else BANDS


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an 8-bit image (H, W, C) or mask (H, W), whole or not at all.

    It becomes a PNG, or an array of numpy where no PNG holds its channels.

    Raises:
        TypeError: for numbers of another type.
    """
    write_file(path, encode_image(image))


def encode_image(image: np.ndarray) -> bytes:
    """An 8-bit image (H, W, C) or mask (H, W) as the bytes of the file that `write_image` writes."""
    if image.dtype != np.uint8:
        raise TypeError(f"images are written as 8-bit numbers, not {image.dtype}")
    buffer = io.BytesIO()
    if image.ndim == 2 or image.shape[2] in MODES:
        as_picture(image).save(buffer, "PNG")
    else:
        np.save(buffer, image)
    return buffer.getvalue()


def as_picture(image: np.ndarray) -> Image.Image:
    """An 8-bit image (H, W, C), or a mask (H, W), as people see it.

    One channel is shown as grey levels. Of more than three the first three are shown as red, green and blue, and of two
    the first as grey levels.
    """
    bands = image.reshape(*image.shape[:2], -1)
    shown = bands[..., :3] if bands.shape[2] >= 3 else bands[..., 0]
    return Image.fromarray(np.ascontiguousarray(shown))


def as_colours(image: np.ndarray) -> np.ndarray:
    """An 8-bit image (H, W, C) as it is shown (`as_picture`), in red, green and blue: uint8 (H, W, 3)."""
    return np.asarray(as_picture(image).convert("RGB"))


def smaller(image: np.ndarray | None, longest: int) -> np.ndarray | None:
    """An 8-bit image (H, W, C) as it is shown (`as_picture`), scaled down where a side has more than `longest` pixels;
    None for None."""
    if image is None or max(image.shape[:2]) <= longest:
        return image
    picture = as_picture(image)
    picture.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(picture))


def spotlight(image: np.ndarray, activations: np.ndarray, most: float, side: int) -> np.ndarray:
    """An image that is dark where a feature map is silent, and the brighter the more it fires.

    Args:
        image: the image, uint8 (h, w, C), which is shown as `as_picture` says.
        activations: the map's activations, float (H, W). Each neuron lights its cell of a grid over the whole image.
        most: the activation at which the image has its own brightness.
        side: the pixels of the picture's longer side.

    Returns:
        The picture, uint8, in the image's proportions. Pixels have DIM of their brightness where nothing fires.
    """
    height, width = (max(1, round(side * extent / max(image.shape[:2]))) for extent in image.shape[:2])
    small = np.asarray(as_picture(image).resize((width, height), Image.Resampling.BILINEAR), np.float32)
    part = np.clip(np.nan_to_num(activations.astype(np.float32)) / most if most > 0 else 0 * activations, 0, 1)
    rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), part.shape, strict=True))
    light = DIM + (1 - DIM) * part[rows][:, columns, None]
    return (np.atleast_3d(small) * light).astype(np.uint8)


def png_bytes(image: np.ndarray) -> bytes:
    """An 8-bit image (H, W, C), as it is shown (`as_picture`), as the bytes of a PNG file.

    It is compressed lightly: 7 % larger than usual, in less than half the time.
    """
    buffer = io.BytesIO()
    as_picture(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@dataclass(frozen=True)
class Files:
    """The names of the files in a folder, relative to it and sorted.

    Attributes:
        images: the files that are read as images.
        others: the files that are not.
        hidden: images that are passed over because their own name begins with a full stop.
    """

    images: tuple[str, ...]
    others: tuple[str, ...]
    hidden: tuple[str, ...] = ()


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes, in lower case with a full stop, of the image formats that are read."""
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in Image.OPEN and kind not in _NO_PICTURES)


def files_in(folder: Path, channels: int = 3) -> Files:
    """All files in a folder and in the folders inside it, also behind links to folders.

    Hidden files and files that operating systems put there are passed over.

    Args:
        folder: the folder.
        channels: the number of channels of the model's input, by which files are images or not; see `decode_image`.

    Raises:
        AevisError: where there is no such folder or no image in it, or a folder cannot be read.
    """
    if not folder.is_dir():
        raise AevisError(f"There is no folder {folder}. Give the folder that holds the images.")
    images, others, hidden = [], [], []
    suffixes = image_suffixes() if channels in MODES else {BANDS}
    try:
        for name, entry in _walk(folder):
            is_image = Path(name).suffix.lower() in suffixes and _leads_to(entry.is_file)
            if not entry.name.startswith("."):
                (images if is_image else others).append(name)
            elif is_image:
                hidden.append(name)
    except OSError as error:
        raise AevisError(
            f"The folder {error.filename or folder} cannot be read ({error.strerror}). Check its permissions."
        ) from error
    if not images:
        named = f"Its {so_many(len(others), 'file')} {'is' if len(others) == 1 else 'are'} of other kinds"
        beside = f" {named}, such as {sorted(others)[0]!r}." if others else ""
        such = "a PNG or JPEG" if channels in MODES else f"a file {BANDS} with an array of {channels} channels"
        raise AevisError(f"The folder {folder} holds no image that can be read, such as {such}.{beside}")
    return Files(*(tuple(sorted(names, key=lambda name: name.split("/"))) for names in (images, others, hidden)))


def _walk(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The files in a folder and in those inside it, by their names relative to it.

    Hidden files are among them, but not those that macOS puts beside others (`._NAME`). Hidden folders are not looked
    into, and links back to a folder that holds the link are not followed.
    """
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(str(folder), "", (os.path.realpath(folder),))]
    while waiting:
        path, before, above = waiting.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("._") or entry.name in _HOUSEKEEPING:
                    continue
                is_folder = _leads_to(entry.is_dir)
                if is_folder and entry.name.startswith("."):
                    continue
                if not is_folder:
                    yield before + entry.name, entry
                    continue
                real = os.path.realpath(entry.path)
                if not any(place == real or place.startswith(real.rstrip("/") + "/") for place in above):
                    waiting.append((entry.path, f"{before}{entry.name}/", (*above, real)))


def _leads_to(kind: Callable[[], bool]) -> bool:
    """Whether an entry is of that kind, after links are followed. A link that leads to itself is of no kind."""
    try:
        return kind()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _refuse_image(image: Image.Image, data: bytes, path: Path) -> None:
    _refuse_size(*image.size, path)
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a phone's .jpg: the picture, then its previews
        raise AevisError(f"The image {path} is animated ({image.n_frames} frames). Save the frame you mean as PNG.")  # type: ignore[attr-defined]
    if image.mode == "CMYK":
        raise AevisError(f"The image {path} is CMYK, whose colours a network never saw. Convert it to RGB.")
    deep_png = image.format == "PNG" and data[24] > 8  # Pillow opens it as RGB, without a word
    if deep_png or image.mode == "F" or image.mode.startswith("I"):
        kind = "16-bit PNG" if deep_png else image.mode
        raise AevisError(f"The image {path} has more than 8 bits a channel ({kind}). Convert it to 8-bit RGB.")
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "1"):
        raise AevisError(f"The image {path} is in the colour space {image.mode}. Convert it to RGB.")


def _refuse_size(width: int, height: int, path: Path) -> None:
    if width * height > MOST_PIXELS:
        raise AevisError(_too_large(path, f"{width} x {height} pixels, more than"))
    if min(width, height) < SMALLEST:
        raise AevisError(
            f"The image {path} has {width} x {height} pixels; under {SMALLEST} on a side nothing is seen. Leave it out."
        )


def _too_large(path: Path, what: str) -> str:
    return f"The image {path} has {what} the {MOST_PIXELS // 10**6} million pixels that are read. Scale it down."
