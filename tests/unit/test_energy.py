"""Joules of an epoch, as a driver tells them: one that is made up here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from omr_model.energy import EnergyMeter, GpuCounter, PackageCounter, energy_meter
from results.gather import gather
from tests.studies import FakeTrial, make_study

UUID = "5f2c3b1e-0000-1111-2222-333344445555"


class FakeNvml:
    """Two GPUs; the second has taken so many millijoules."""

    def __init__(self, millijoules: int = 5_000_000) -> None:
        self.millijoules = millijoules
        self.initialised = False

    def nvmlInit(self) -> None:  # noqa: N802  (NVML's name)
        self.initialised = True

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        return {f"GPU-{UUID}": 1}[uuid]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        assert (self.initialised, handle) == (True, 1)
        return self.millijoules


def write_package(powercap: Path, name: str, microjoules: int, span: int = 1_000_000) -> None:
    (powercap / name).mkdir(parents=True, exist_ok=True)
    (powercap / name / "energy_uj").write_text(f"{microjoules}\n")
    (powercap / name / "max_energy_range_uj").write_text(f"{span}\n")


def on_gpu(monkeypatch: pytest.MonkeyPatch, nvml: object) -> EnergyMeter:
    """The meter of a GPU that torch says has that UUID, whatever its number is here."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid=UUID))
    return energy_meter(torch.device("cuda", 0))


def test_a_gpu_is_found_by_its_uuid_and_its_millijoules_are_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    meter = on_gpu(monkeypatch, nvml)
    nvml.millijoules += 12_500
    assert meter.lap() == 12.5
    assert meter.lap() == 0


def test_a_gpu_that_does_not_count_and_a_driver_that_goes_away_have_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(FakeNvml):
        def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: ARG002, N802
            raise RuntimeError("Not Supported")

    assert on_gpu(monkeypatch, Old()).lap() is None
    nvml = FakeNvml()
    meter = on_gpu(monkeypatch, nvml)
    monkeypatch.setattr(nvml, "nvmlDeviceGetTotalEnergyConsumption", Old().nvmlDeviceGetTotalEnergyConsumption)
    assert meter.lap() is None
    assert on_gpu(monkeypatch, SimpleNamespace()).lap() is None  # no driver at all
    with pytest.raises(KeyError):
        GpuCounter(FakeNvml(), "another")


def test_packages_are_summed_without_their_parts(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        write_package(tmp_path, name, 0)
    meter = energy_meter(torch.device("cpu"), tmp_path)
    write_package(tmp_path, "intel-rapl:0", 300_000)
    write_package(tmp_path, "intel-rapl:1", 200_000)
    write_package(tmp_path, "intel-rapl:0:0", 100_000)
    assert meter.lap() == pytest.approx(0.5)


def test_a_counter_that_begins_again_loses_nothing_if_it_is_asked_in_between(tmp_path: Path) -> None:
    write_package(tmp_path, "intel-rapl:0", 900_000)
    meter = EnergyMeter(PackageCounter(tmp_path))
    for microjoules in (100_000, 800_000, 300_000):  # twice past its end
        write_package(tmp_path, "intel-rapl:0", microjoules)
        meter.read()
    assert meter.lap() == pytest.approx(0.2 + 0.7 + 0.5)


def test_where_nobody_tells_there_is_no_number(tmp_path: Path) -> None:
    assert energy_meter(torch.device("cpu"), tmp_path / "none").lap() is None
    write_package(tmp_path, "intel-rapl:0", 5)
    meter = energy_meter(torch.device("cpu"), tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.lap() is None


def test_the_tables_have_it_where_it_is_known_for_every_epoch(tmp_path: Path) -> None:
    known = FakeTrial(0, (0.5, 0.4), more={"energy_joules": 150.0})
    tables = gather(make_study(tmp_path, [known, FakeTrial(1, (0.5, 0.4)), FakeTrial(2, (), state="failed")]))
    assert tables.epochs["energy_joules"].to_pylist() == [150.0, 150.0, None, None]
    assert tables.trials["energy_joules"].to_pylist() == [300.0, None, 0.0]
