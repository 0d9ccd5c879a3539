"""Searches over several real nodes (`ray.cluster_utils`): each has its raylet, its processes and its own death."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from results.journal import SessionEnded, read
from results.provenance import CODE_VARIABLE
from results.study import read_study
from search.engine.cluster import OPEN_TO_THE_NETWORK
from search.runtime_env import runtime_env
from tests.attached import EPOCHS, PATIENCE, TRIALS, Search, searching
from tests.end_to_end.commands import ROOT


@pytest.fixture
def new_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes a cluster with so many nodes of one core beside a head without any, or a head alone that has one."""
    for name in ("RAY_memory_monitor_refresh_ms", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "0")
    monkeypatch.delenv(OPEN_TO_THE_NETWORK, raising=False)  # as an earlier test's own Ray in this process leaves both
    monkeypatch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", True)
    from ray._private.authentication import authentication_token_setup
    from ray.cluster_utils import Cluster

    authentication_token_setup.enable_token_auth_by_default()  # as Ray does for `ray.init`, and `ray start` does not
    authentication_token_setup.ensure_token_if_auth_enabled()

    made: list[Any] = []

    def make(nodes: int, dashboard: bool = False) -> Any:
        free = {"dashboard_port": 0, "dashboard_agent_listen_port": 0}  # another Ray beside this one has the usual ones
        head = {"num_cpus": int(nodes == 0), "include_dashboard": dashboard, **free}
        made.append(Cluster(initialize_head=True, head_node_args=head))
        for _ in range(nodes):
            made[-1].add_node(num_cpus=1, wait=False)
        made[-1].wait_for_nodes()
        return made[-1]

    yield make
    for cluster in made:
        cluster.shutdown()
    made.clear()
    with warnings.catch_warnings():  # Ray's nodes leave a socket open, and each waits for its last reference
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def attach(cluster: Any) -> list[str]:
    return ["cluster=attach", f"cluster.address={cluster.address}", "cluster.upload=false"]


def test_a_node_dies_others_join_then_the_head_dies_and_nothing_is_lost_or_twice(
    new_cluster: Any, corpora: Path, tmp_path: Path
) -> None:
    """Against the same search on one machine, one trial after another, which runs beside it."""
    alone, first = Search(tmp_path / "alone", corpora, 0.05), new_cluster(2)
    with searching(Search(tmp_path / "many", corpora, 0.05)) as search, searching(alone):
        search.hold((0, 4), (1, 4))
        search.begin(*attach(first))
        search.until(lambda: {(0, 4), (1, 4)} <= set(search.trained()))  # one on each node
        alone.begin("cluster.cpus=1", "cluster.gpus=0", "cluster.dashboard=false")
        first.remove_node(next(iter(first.worker_nodes)), allow_graceful=False)
        search.until(lambda: "node lost" in search.words())
        first.add_node(num_cpus=1, wait=False)
        first.add_node(num_cpus=1, wait=False)
        search.until(lambda: "3 trials at a time" in search.words())

        search.hold((3, 3), (4, 3), (5, 3))
        search.go_on(0, 1)
        search.until(lambda: {(3, 3), (4, 3), (5, 3)} <= set(search.trained()))  # all three at once
        assert "crashed and goes on from its checkpoint" in search.words()  # though trial.retries=0
        first.head_node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        assert search.wait() == 2, search.words()[-3000:]
        assert f"the head of the cluster at {first.address} is gone" in search.words()
        assert "go on with: python -m search.run resume=mine" in search.words()

        first.shutdown()  # or what it left would train on
        second = new_cluster(2)
        search.go_on(3, 4, 5)
        search.resume("force=true", *attach(second))  # the code may be edited while its tests run
        assert search.wait() == 0, search.words()[-3000:]
        assert alone.wait() == 0, alone.words()[-3000:]
    assert search.tables() == alone.tables()
    assert [row["state"] for row in search.tables()[0]] == ["completed"] * TRIALS
    again = len(search.trained()) - TRIALS * EPOCHS
    assert 1 <= again <= 4  # the epochs that the node and the head died in, and no other


def test_a_folder_that_a_node_does_not_share_is_named_before_the_first_trial(new_cluster: Any, tmp_path: Path) -> None:
    """In this process: `check_nodes` on a node that is asked for a file that is another one by then."""
    import ray

    from datasets.errors import ConfigError
    from search.config import ClusterConfig
    from search.engine.attached import attached_cluster
    from search.engine.cluster import Witness
    from search.engine.nodes import check_nodes, nodes

    cluster = new_cluster(1)
    here, gone = tmp_path / "study.json", tmp_path / "elsewhere" / "study.json"
    here.write_text("{}")
    address = ClusterConfig(name="attach", address=cluster.address)
    with attached_cluster(address, witnesses=[Witness("paths.studies", here, written=True)]) as attached:
        assert (attached.cpus, attached.gpus, len(attached.nodes)) == (1, 0, 1)
        assert [path.name for path in tmp_path.iterdir()] == ["study.json"]  # what a node tried to write is gone
        able = [node for node in nodes() if node.share.cpus]
        gone.parent.mkdir()
        gone.write_text("{}")
        blind = Witness("paths.corpora", _Vanishing(gone))
        with pytest.raises(ConfigError, match=r"paths\.corpora: .* has not the same .*elsewhere \(study.json: No such"):
            check_nodes(able, [blind], upload=True)
        code = ray.remote(num_cpus=1)(lambda: __import__("search").__file__)
        assert "py_modules" in ray.get(code.remote())  # what was sent, not what lies where this process is


class _Vanishing(type(Path())):  # type: ignore[misc]
    """A file that is here as long as nobody else looks."""

    def read_bytes(self) -> bytes:
        data = super().read_bytes()
        self.unlink()
        return data


def test_a_job_knows_its_code_and_ends_gracefully(new_cluster: Any, corpora: Path, tmp_path: Path) -> None:
    """`ray job submit` as the documentation says it, with a pretended training in the place of `search.run`."""
    cluster = new_cluster(0, dashboard=True)  # nodes on one machine would delete each other's copies of the code
    search = Search(tmp_path / "job", corpora, 0.5)
    search.scratch.mkdir()

    def ray_job(*words: str) -> str:
        address = f"--address=http://{cluster.webui_url}"
        ray = str(Path(sys.executable).parent / "ray")
        command = [ray, "job", words[0], address, *words[1:]]
        for _ in range(30):  # the head takes jobs a moment after it is there
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
            if "No available agent" not in done.stderr:
                break
            time.sleep(2)
        assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
        return done.stdout

    told = json.dumps(runtime_env())
    driver = [sys.executable, "-m", "tests.attached", str(search.scratch), "0.5", *search.fields("cluster=attach")]
    ray_job(
        "submit", "--no-wait", "--submission-id=one", "--working-dir=.", f"--runtime-env-json={told}", "--", *driver
    )
    patience = time.monotonic() + PATIENCE
    while len(search.trained()) < 2:
        assert time.monotonic() < patience, search.words() + ray_job("logs", "one")[-3000:]
        time.sleep(0.1)
    ray_job("stop", "one")
    assert "s to finish their epoch" in search.words()
    assert "Go on with: python -m search.run resume=mine" in search.words()
    [*_, last] = read(search.folder / "events.jsonl")
    assert isinstance(last, SessionEnded)
    code = read_study(search.folder).provenance.code
    told_of = json.loads(runtime_env()["env_vars"][CODE_VARIABLE])
    assert (code.commit, code.run_number) in (
        (told_of["commit"], told_of["run_number"]),
        ("unversioned", "unversioned"),
    )
    if told_of["digest"] == code.digest:  # nobody has edited the code meanwhile
        assert code.commit != "unversioned"
