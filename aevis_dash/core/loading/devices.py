"""The device on which models run."""

import os

import torch

from aevis_dash.config import DEVICE_VARIABLE
from aevis_dash.domain import AevisError, reason_of, shorten


def device_name() -> str:
    """Give the name of the device that $AEVIS_DEVICE asks for, which --device sets; "cpu" by default. Whether it exists
    is not tried."""
    return os.environ.get(DEVICE_VARIABLE) or "cpu"


def device() -> torch.device:
    """Give the device on which models run: the one that $AEVIS_DEVICE names, such as cuda or cuda:1, else the CPU.

    Raises:
        AevisError: torch cannot use that device here.
    """
    name = device_name()
    try:
        tried = torch.ones(1, device=name)
        tried.item()  # the device "meta" holds no numbers
        return tried.device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise AevisError(
            f"The device {name!r} cannot be used ({shorten(reason_of(error), 200)}). Here torch can use "
            f"{', '.join(usable())}. Name one of them by --device, or by AEVIS_DEVICE in the environment."
        ) from error


def usable() -> tuple[str, ...]:
    """Give the names of the devices that torch can use on this machine."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return tuple(found)
