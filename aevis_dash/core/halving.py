"""Running many images in parts where memory is short: all together if they fit, and else halves of them."""

import os
from collections.abc import Callable
from typing import TypeVar

import torch

from aevis_dash.config import MEMORY_VARIABLE
from aevis_dash.domain import AevisError, reason_of, shorten, so_many

T = TypeVar("T")
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
"""What RuntimeErrors say where memory is short: those of the CPU's allocator on Linux and on Windows, of MPS, and of
CUDA's libraries, in small letters."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that the memory of the device, or of the machine, is too small."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def too_small(count: int | None, error: BaseException) -> AevisError:
    """Make the refusal of so many images that do not fit into memory together, or of work on an unknown number of them
    (None); it is returned and not raised."""
    what = "this" if count is None else f"{so_many(count, 'image')} at once"
    mend = "End what else uses it, or choose another device, such as --device cpu."
    if os.environ.get(MEMORY_VARIABLE):
        mend = f"It may take {os.environ[MEMORY_VARIABLE]} GiB: raise --max-memory."
    return AevisError(f"The memory is too small for {what} ({shorten(reason_of(error), 120)}). {mend}")


def smaller(step: int) -> int:
    """Give the next smaller number of images to try, and free what the failed try has left."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    return (step + 1) // 2


def by_halves(run: Callable[[slice], T], count: int) -> list[T]:
    """Run `count` rows together, or where they do not fit into memory, half as many at once until they do.

    Args:
        run: is given a slice of the rows, and is called again for parts of those that did not fit.
        count: the number of rows.

    Returns:
        What `run` gave for each part, in the order of the rows.

    Raises:
        AevisError: not even one row fits.
    """
    found, done, step = [], 0, max(1, count)
    while not found or done < count:
        try:
            found.append(run(slice(done, done + step)))
            done += step
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            step = min(step, count - done)
            if step <= 1:
                raise too_small(1, error) from error
        step = smaller(step)  # after the except block, whose error holds what the failed run had in memory
    return found
