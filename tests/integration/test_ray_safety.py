"""One search on a real Ray of its own: who can reach it, and what becomes of it if a trial hangs or the raylet dies."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

from search.config import ClusterConfig
from search.engine.cluster import local_cluster
from search.engine.watchdog import RayDiedError, Watchdog

STANDS_STILL, LAST = 2, 4
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
LISTENS = "0A"


class Saboteur(tune.Callback):
    """Looks at everything while it runs, and kills the raylet when it has seen enough."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.addresses: set[str] = set()
        self.adjustments: set[str] = set()
        self.worker = 0

    def on_trial_result(self, *, result: dict[str, Any], **_: Any) -> None:  # type: ignore[override]
        self.epochs.append(result["epoch"])
        self.worker = result["pid"]
        if result["epoch"] == 1:
            self.addresses = listening(os.getpid())
            self.adjustments = {Path(f"/proc/{result['pid']}/oom_score_adj").read_text().strip()}
        if result["epoch"] == LAST:
            raylets = [pid for pid in family(os.getpid()) if "raylet" in Path(f"/proc/{pid}/comm").read_text()]
            for pid in raylets:
                os.kill(pid, signal.SIGKILL)


def family(pid: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def listening(root: int) -> set[str]:
    """The addresses, in the kernel's hexadecimal, at which a process and all that it has started listen."""
    sockets = set()
    for pid in family(root):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
            except FileNotFoundError:
                continue
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {line[1].partition(":")[0] for line in lines if line[3] == LISTENS and line[9] in sockets}


def test_ray_is_for_this_machine_alone_and_its_deaths_are_noticed(tmp_path: Path) -> None:
    saboteur, said = Saboteur(), list[str]()

    def hang_once(_: Mapping[str, Any]) -> None:
        """Stand still, as by SIGSTOP, in the second epoch; from a checkpoint on, to the end. In here, so that the
        trial's process does not import this file."""
        last = tune.get_checkpoint()
        first = int((Path(last.path) / "epoch").read_text()) + 1 if last is not None else 1
        for epoch in range(first, 1000):
            if epoch == STANDS_STILL and last is None:
                os.kill(os.getpid(), signal.SIGSTOP)
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "epoch").write_text(str(epoch))
                tune.report({"epoch": epoch, "ser": 1 / epoch}, checkpoint=tune.Checkpoint.from_directory(folder))
            time.sleep(0.05)

    with local_cluster(ClusterConfig(cpus=1, gpus=0, dashboard=False)):
        logs = Path(ray._private.worker._global_node.get_session_dir_path()).stat()
        tuner = tune.Tuner(
            tune.with_resources(hang_once, {"cpu": 1}),
            param_space={"number": 7},
            run_config=tune.RunConfig(
                name="1",
                storage_path=str(tmp_path),
                verbose=0,
                callbacks=[saboteur, Watchdog("mine", 3 / 60, said.append)],
                failure_config=tune.FailureConfig(max_failures=1),
            ),
        )
        with pytest.raises(RayDiedError, match="resume=mine"):
            tuner.fit()
        ended = time.monotonic()
        while command(saboteur.worker):  # it notices, too
            assert time.monotonic() < ended + 60
            time.sleep(0.1)
    assert stat.filemode(logs.st_mode) == "drwx------"
    assert saboteur.addresses
    assert saboteur.addresses <= set(LOOPBACK)
    assert saboteur.adjustments == {"1000"}  # the kernel takes a trial before the search
    assert said == ["trial   7  no report for 0.05 minutes: its process is killed"]
    assert saboteur.epochs[:LAST] == [1, 2, 3, 4]  # the first one's checkpoint was enough


def command(pid: int) -> str:
    """What a process runs; nothing once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
