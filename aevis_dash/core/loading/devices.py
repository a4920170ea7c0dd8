"""The device on which models run."""

import os

import torch

from aevis_dash.domain import AevisError, reason_of


def device_name() -> str:
    """Give the name of the device that $AEVIS_DEVICE asks for, "cpu" by default; whether it exists is not tried."""
    return os.environ.get("AEVIS_DEVICE") or "cpu"


def device() -> torch.device:
    """Give the device on which models run: the one that $AEVIS_DEVICE names, such as cuda or cuda:1, else the CPU.

    Raises:
        AevisError: torch cannot use that device here.
    """
    name = device_name()
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise AevisError(
            f"AEVIS_DEVICE={name} cannot be used ({reason_of(error)}). Name a device that torch can use "
            "here, such as cuda, or unset it for the CPU."
        ) from error
