"""Joules that a training takes, where the driver tells them.

    on a GPU    NVML's counter of the GPU (Volta and later)
    on a CPU    RAPL's counters of the processor's packages (Linux; most kernels let only root read them)

Both count the whole device: trainings that share it each count all of it. Where nobody tells, there is no number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

POWERCAP = Path("/sys/class/powercap")


class Counter(Protocol):
    """Something that counts up."""

    def joules(self) -> float:
        """Since some moment: only differences mean anything."""


class GpuCounter:
    """The energy that a GPU has taken since its driver was loaded.

    Args:
        nvml: the module `pynvml`, initialised.
        uuid: of the GPU, which is the same whatever CUDA_VISIBLE_DEVICES hides or reorders.
    """

    def __init__(self, nvml: Any, uuid: str) -> None:
        self.nvml = nvml
        self.handle = nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")

    def joules(self) -> float:
        """NVML counts millijoules."""
        return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1000


class PackageCounter:
    """The energy of all of a machine's processor packages; their counters begin again at 0 when they are full.

    Args:
        powercap: the kernel's folder of them.

    Raises:
        OSError: there are none, or they may not be read.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self.packages = sorted(powercap.glob("intel-rapl:[0-9]*"))  # AMD's have that name, too
        self.packages = [package for package in self.packages if package.name.count(":") == 1]  # no parts of others
        if not self.packages:
            raise FileNotFoundError(f"no counters in {powercap}")
        self.ranges = [_number(package / "max_energy_range_uj") for package in self.packages]
        self.last = self._read()
        self.total = 0

    def joules(self) -> float:
        """To be asked more than once in a range: of a server's that is some 20 minutes at full load."""
        now = self._read()
        for before, after, span in zip(self.last, now, self.ranges, strict=True):
            self.total += after - before if after >= before else after + span - before
        self.last = now
        return self.total / 1e6

    def _read(self) -> list[int]:
        return [_number(package / "energy_uj") for package in self.packages]


class EnergyMeter:
    """Joules between two moments; None where nobody tells them.

    Args:
        counter: None where there is none.
    """

    def __init__(self, counter: Counter | None) -> None:
        self.counter = counter
        self._lap: float | None = self.read()

    def read(self) -> float | None:
        """Joules since some moment; asked now and then, a counter that begins again at 0 does no harm."""
        if self.counter is None:
            return None
        try:
            return self.counter.joules()
        except Exception:  # NVML's errors, a driver that is gone: the training matters more
            self.counter = None
            return None

    def lap(self) -> float | None:
        """Joules since this was last asked for."""
        before, self._lap = self._lap, self.read()
        return None if before is None or self._lap is None else self._lap - before


def energy_meter(device: torch.device, powercap: Path = POWERCAP) -> EnergyMeter:
    """The meter of the device that a training runs on."""
    try:
        if device.type == "cuda":
            import pynvml

            pynvml.nvmlInit()
            return EnergyMeter(GpuCounter(pynvml, str(torch.cuda.get_device_properties(device).uuid)))
        return EnergyMeter(PackageCounter(powercap))
    except Exception:  # no driver, no right to read, a GPU that does not count: none of it keeps from training
        return EnergyMeter(None)


def _number(file: Path) -> int:
    return int(file.read_text())
