"""The device on which models run, and the memory that they may take on it."""

import math
import os
import sys

import psutil
import torch

from aevis_dash.config import DEVICE_VARIABLE, MEMORY_VARIABLE
from aevis_dash.domain import AevisError, reason_of, shorten

_LEAST = 128 * 2**20
"""The bytes that must be left for running an image."""


def device_name() -> str:
    """Give the name of the device that $AEVIS_DEVICE asks for, which --device sets; "cpu" by default. Whether it exists
    is not tried."""
    return os.environ.get(DEVICE_VARIABLE) or "cpu"


def device() -> torch.device:
    """Give the device on which models run: the one that $AEVIS_DEVICE names, such as cuda or cuda:1, else the CPU.

    From then on this process takes no more memory than $AEVIS_MAX_MEMORY says; what does not fit is run in parts
    (`core.halving`).

    Raises:
        AevisError: torch cannot use that device here, or its memory cannot be limited so.
    """
    name = device_name()
    try:
        tried = torch.ones(1, device=name)
        tried.item()  # the device "meta" holds no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise AevisError(
            f"The device {name!r} cannot be used ({shorten(reason_of(error), 200)}). Here torch can use "
            f"{', '.join(usable())}. Name one of them by --device, or by AEVIS_DEVICE in the environment."
        ) from error
    if os.environ.get(MEMORY_VARIABLE):
        limit_memory(tried.device, os.environ[MEMORY_VARIABLE])
    return tried.device


def limit_memory(device: torch.device, text: str) -> None:
    """Let this process take so much memory at most: of the GPU's, or on the CPU of the machine's.

    Args:
        device: where models run.
        text: a number of GiB.

    Raises:
        AevisError: the text is no such number, too little is left for running an image, or the system has no limit.
    """
    try:
        most = float(text) * 2**30
    except ValueError:
        most = math.nan
    if not (math.isfinite(most) and most > 0):
        raise AevisError(
            f"The most memory is {shorten(text)!r}, which is no number of GiB. Give one, such as --max-memory 6, or "
            f"{MEMORY_VARIABLE}=6 in the environment."
        )
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, most / total), device)
    elif device.type == "mps":
        torch.mps.set_per_process_memory_fraction(min(1.0, most / torch.mps.recommended_max_memory()))
    elif sys.platform == "linux":
        _limit_data(most)
    else:
        raise AevisError(
            f"{sys.platform} cannot limit the memory of a process. Leave out --max-memory, and {MEMORY_VARIABLE} in "
            "the environment."
        )


def _limit_data(most: float) -> None:
    """Have Linux refuse this process, and those that it starts, memory for data beyond so many bytes."""
    import resource  # no other system has the limit of data

    taken = psutil.Process().memory_info().data
    if most < taken + _LEAST:
        raise AevisError(
            f"{most / 2**30:.2g} GiB are too little: {taken / 2**30:.2g} GiB are taken before an image is run. Say at "
            f"least --max-memory {math.ceil((taken + _LEAST) / 2**30 * 10) / 10:g}."
        )
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = int(most) if hard == resource.RLIM_INFINITY else min(int(most), hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def usable() -> tuple[str, ...]:
    """Give the names of the devices that torch can use on this machine."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return tuple(found)
