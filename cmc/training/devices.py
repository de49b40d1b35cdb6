"""Where the networks compute: the one place that turns a setting into a device of torch."""

import platform
import re

import torch

SETTING = re.compile(r"auto|cpu|cuda(:\d+)?")


class DeviceError(RuntimeError):
    """A device that is none, or that this machine lacks; the message says the way out."""


def choose(setting: str) -> str:
    """The device of a setting: auto (a GPU where there is one), cpu, cuda or cuda:N.

    Raises
    ------
    DeviceError
    """
    if not SETTING.fullmatch(setting):
        raise DeviceError(f"device is {setting!r}: expected auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if setting == "auto":
        return "cuda" if count else "cpu"
    if setting.startswith("cuda") and not count:
        raise DeviceError(
            f"device is {setting}, but PyTorch finds no GPU on {platform.node()}: set device to auto or cpu, or "
            "let the job ask for one (docs/cluster.md); nvidia-smi says what this machine has"
        )
    if ":" in setting and int(setting.partition(":")[2]) >= count:
        raise DeviceError(f"device is {setting}, but the last GPU on {platform.node()} is cuda:{count - 1}")
    return setting
