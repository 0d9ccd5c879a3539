"""One search on a real Ray of its own: who can reach it, and what becomes of a trial that hangs.

What becomes of a search whose raylet dies is for `tests/end_to_end/test_faults.py`: that may take the process with it.
"""

from __future__ import annotations

import os
import signal
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune

from search.config import ClusterConfig
from search.engine.cluster import local_cluster
from search.engine.watchdog import Watchdog
from tests.processes import LOOPBACK, listening

STANDS_STILL, LAST = 2, 4


class Inspector(tune.Callback):
    """Looks at everything while it runs."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.addresses: set[str] = set()
        self.adjustments: set[str] = set()

    def on_trial_result(self, *, result: dict[str, Any], **_: Any) -> None:  # type: ignore[override]
        self.epochs.append(result["epoch"])
        if result["epoch"] == 1:
            self.addresses = listening(os.getpid())
            self.adjustments = {Path(f"/proc/{result['pid']}/oom_score_adj").read_text().strip()}


def test_ray_is_for_this_machine_alone_and_a_trial_that_hangs_is_taken_up_again(tmp_path: Path) -> None:
    inspector, said = Inspector(), list[str]()

    def hang_once(_: Mapping[str, Any]) -> None:
        """Stand still, as by SIGSTOP, in the second epoch; from a checkpoint on, to the end. In here, so that the
        trial's process does not import this file."""
        last = tune.get_checkpoint()
        first = int((Path(last.path) / "epoch").read_text()) + 1 if last is not None else 1
        for epoch in range(first, LAST + 1):
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
                callbacks=[inspector, Watchdog("mine", 3 / 60, said.append)],
                failure_config=tune.FailureConfig(max_failures=1),
            ),
        )
        tuner.fit()
    assert stat.filemode(logs.st_mode) == "drwx------"
    assert inspector.addresses
    assert inspector.addresses <= LOOPBACK
    assert inspector.adjustments == {"1000"}  # the kernel takes a trial before the search
    assert said == ["trial   7  no report for 0.05 minutes: its process is killed"]
    assert inspector.epochs == [1, 2, 3, 4]  # the first one's checkpoint was enough
