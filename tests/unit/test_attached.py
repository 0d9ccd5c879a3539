"""A cluster that is joined: what is asked for, what fits on its nodes, and what is told of one that cannot be used."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.tune.experiment import Trial

from datasets.errors import ConfigError
from search.chronicle import Chronicle
from search.config import BudgetConfig, ClusterConfig, PathsConfig, SearchConfig, TrialConfig
from search.engine import attached, elastic
from search.engine.attached import head_is_gone
from search.engine.cluster import Cluster, Witness
from search.engine.elastic import MOST_DEATHS, Elastic, nodes_may_die
from search.engine.nodes import NEEDED, Answer, Node, UnfitError, _looker, _no_code, _other, _unlike, _unseen
from search.engine.stop import Stop
from search.resources import Machine, Machines, concurrent_trials, trial_resources
from search.resume import _on_cluster
from search.runtime_env import check_paths_last, excluded, passed

SHARE = st.builds(Machine, st.integers(0, 64), st.integers(0, 8))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "atach"}, "cluster 'atach'.*attach"),
        ({"address": "10.0.0.1:6379"}, "only cluster=attach joins"),
        ({"name": "attach", "address": "ray://10.0.0.1:10001"}, "there are HOST:PORT.*ray job submit"),
        ({"name": "attach", "address": "10.0.0.1"}, "there are HOST:PORT, such as .*auto"),
        ({"cpus": 0}, "cluster.cpus"),
    ],
)
def test_what_is_no_cluster_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClusterConfig(**fields)


def test_a_search_goes_on_elsewhere_and_back() -> None:
    assert _on_cluster({"trial.cpus": "2"}) == {"trial.cpus": "2"}
    there = _on_cluster({"cluster.address": "a:1", "cluster": "attach"})
    assert list(there.items()) == [("cluster.name", "attach"), ("cluster.address", "a:1")]  # the name first
    assert list(_on_cluster({"cluster": "local"}).items()) == [("cluster.address", "auto"), ("cluster.name", "local")]


def cluster(*nodes: Machine, **limits: int) -> Machines:
    return Machines.of(ClusterConfig(**limits), nodes)


@given(st.lists(SHARE, min_size=1, max_size=6), st.integers(1, 16), st.sampled_from([0, 0.25, 0.5, 1]))
def test_no_more_trials_than_each_node_has_room_for(nodes: Sequence[Machine], cpus: int, gpus: float) -> None:
    fitting = sum(concurrent_trials(node, cpus, gpus) for node in nodes)
    assert concurrent_trials(cluster(*nodes), cpus, gpus) == fitting
    assert concurrent_trials(cluster(*nodes, Machine(0, 0)), cpus, gpus) == fitting  # a head without a core
    assert concurrent_trials(cluster(*nodes, cpus=cpus), cpus, gpus) == min(1, fitting)


def test_a_trials_share_is_one_that_a_node_has() -> None:
    mixed = cluster(Machine(8, 0), Machine(8, 1), Machine(32, 2))  # a head without a GPU
    assert trial_resources(SearchConfig(), mixed) == (8, 1.0)
    assert concurrent_trials(mixed, 8, 1.0) == 3
    assert trial_resources(SearchConfig(), cluster(Machine(16, 1), Machine(16, 1), cpus=4)) == (2, 1.0)
    with pytest.raises(ConfigError, match=r"trial.cpus=40: a trial runs on one node; the largest with a GPU has 32"):
        trial_resources(SearchConfig(trial=TrialConfig(cpus=40)), mixed)
    without = cluster(Machine(4, 0), Machine(4, 0))
    with pytest.raises(ConfigError, match=r"trial.cpus=8: a trial runs on one node; the largest has 4 cores"):
        trial_resources(SearchConfig(trial=TrialConfig(cpus=8)), without)


def test_one_machine_is_as_ever() -> None:
    alone = Cluster(cpus=16, gpus=4, dashboard=None, token=None)
    assert trial_resources(SearchConfig(), alone) == (4, 1.0)
    assert concurrent_trials(alone, 4, 1.0) == 4


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_head_is_there_as_long_as_somebody_listens(port: int) -> None:
    assert not head_is_gone(f"127.0.0.1:{port}")


def test_a_head_whose_port_is_closed_is_gone_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        began = time.monotonic()
        assert head_is_gone(f"127.0.0.1:{closed.getsockname()[1]}")
    assert time.monotonic() - began < 5


def test_a_network_that_is_gone_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([OSError("unreachable"), TimeoutError(), None])

    def connect(_: str) -> None:
        if (error := next(tries)) is not None:
            raise error

    monkeypatch.setattr(attached, "_connect", connect)
    monkeypatch.setattr(attached.time, "sleep", lambda _: None)
    assert not head_is_gone("10.0.0.1:6379")


@pytest.mark.parametrize("found", ["127.0.0.1:1", "no.such.host.invalid:6379"])
def test_no_cluster_is_said_at_once(found: str) -> None:
    with pytest.raises(ConfigError, match=rf"cluster.address={found}: no Ray cluster is there .*ray start --head"):
        attached._found(found)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RuntimeError("Version mismatch: The cluster was started with:\n  Ray: 2.50.0"),
            "one of Python and one of Ray",
        ),
        (ConnectionError("Failed to connect to Ray cluster"), "did not let us in: `ray get-auth-token` on its head"),
        (RuntimeError("cannot find a local raylet"), "no node of the cluster: `ray start --address"),
        (RuntimeError(""), "RuntimeError"),
    ],
)
def test_why_a_cluster_is_not_joined(error: Exception, message: str) -> None:
    assert message in attached._why(error)


def answer(name: str, **fields: Any) -> Answer:
    node = Node(name, name, Machine(8, 1))
    plain = {"python": "3.11.9", "packages": dict.fromkeys(NEEDED, "2.0"), "code": "abc", "unseen": {}}
    return Answer(node, **{**plain, **fields})


HERE = ("3.11.9", "abc")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, None),
        ({"python": "3.12.0"}, "Python is 3.11.9 here and 3.12.0 on b; there must be one"),
        ({"packages": dict.fromkeys(NEEDED, "2.0") | {"torch": "1.9"}}, "torch is 2.0 here and 1.9 on b"),
        ({"packages": dict.fromkeys(NEEDED, "2.0") | {"timm": ""}}, "b has no timm; every node needs"),
        ({"code": "!ModuleNotFoundError: No module named 'results'"}, r"b cannot import this code \(ModuleNotFound"),
        ({"code": "other"}, "b has other code than this process; cluster.upload=true sends"),
        (
            {"unseen": {"paths.studies": "study.json: No such file"}},
            r"paths.studies: b has not the same /shared/s .*s3://",
        ),
    ],
)
def test_a_node_that_cannot_do_the_work_is_named(fields: dict[str, Any], message: str | None) -> None:
    answers = [answer("a"), answer("b", **fields)]
    seen = [Witness("paths.studies", Path("/shared/s/study.json"))]
    packages = dict.fromkeys(NEEDED, "2.0")
    said = [*_no_code(answers, False), *_other(answers, HERE, packages, False), *_unseen(answers, seen)]
    if message is None:
        assert said == []
    else:
        [one] = said
        assert re.search(message, one)


def test_gpus_of_several_kinds_are_told_of() -> None:
    head, *gpus = (
        Node(name, name, Machine(8, int(kind != "")), kind)
        for name, kind in [("a", ""), ("b", "T4"), ("c", "A100"), ("d", "T4")]
    )
    assert list(_unlike([head, *gpus[::2]])) == []
    [told] = _unlike([head, *gpus])
    assert told.startswith("GPUs of several kinds (A100 on c; T4 on b and d): ")


def test_a_node_looks_for_what_it_is_told_to(tmp_path: Path) -> None:
    """The task itself, in this process: it must not need anything of its module."""
    here = tmp_path / "study.json"
    here.write_text("{}")
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    files = [
        ("paths.studies", str(here), digest, True),
        ("paths.corpora", str(tmp_path / "none"), digest, False),
        ("other", str(here), "0", False),
    ]
    look = _looker()
    assert look.__closure__ is None
    _, packages, code, unseen = look(["ray", "no-such-package"], files)
    assert packages["ray"]
    assert packages["no-such-package"] == ""
    assert len(code) == 64
    assert unseen == {"paths.corpora": "none: No such file or directory", "other": "study.json is another one there"}
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


A, B = Node("1", "a", Machine(4, 0)), Node("2", "b", Machine(8, 0))


class Growing:
    """A cluster whose nodes are a list, and what `Elastic` does about it."""

    def __init__(self, tmp_path: Path, check: Any = lambda _: ()) -> None:
        self.nodes = [A]
        self.now = 0.0
        self.said: list[str] = []
        self.limiter: Any = SimpleNamespace(max_concurrent=4)
        self.stop = Stop(BudgetConfig(), Chronicle(tmp_path))
        self.elastic = Elastic(
            self.limiter,
            lambda shares: sum(share.cpus for share in shares),
            check,
            [A],
            "mine",
            self.stop,
            self.said.append,
            lambda: self.nodes,
            lambda: self.now,
        )

    def step(self) -> None:
        self.now += elastic.SECONDS_BETWEEN_LOOKS
        self.elastic.on_step_end(0, [])

    def wait(self, done: Callable[[], bool]) -> None:
        until = time.monotonic() + 10
        while not done():
            assert time.monotonic() < until, self.said
            self.elastic.on_step_end(0, [])
            time.sleep(0.01)

    def wait_for(self, text: str) -> None:
        self.wait(lambda: any(text in line for line in self.said))


def test_trials_follow_the_nodes_that_were_looked_at(tmp_path: Path) -> None:
    asked, answer = threading.Event(), threading.Event()

    def check(nodes: Sequence[Node]) -> list[str]:
        asked.set()
        assert answer.wait(10)
        return [f"{node.name} is checked" for node in nodes]

    growing = Growing(tmp_path, check)
    growing.step()
    assert growing.said == []
    growing.nodes = [A, B, Node("3", "c", Machine(0, 0))]
    growing.step()
    assert asked.wait(10)
    growing.step()
    assert growing.limiter.max_concurrent == 4, "nobody knows yet whether it can do the work"
    growing.nodes = growing.nodes[1:]
    growing.step()
    assert growing.limiter.max_concurrent == 1, "nor when another leaves"
    answer.set()
    growing.wait_for("b is checked")
    assert growing.limiter.max_concurrent == 8
    assert not any("c is checked" in line for line in growing.said)  # no trial runs there
    growing.nodes = []
    growing.step()
    assert growing.limiter.max_concurrent == 1  # one waits for a node
    assert any("node lost    b" in line for line in growing.said)


def test_a_node_that_joined_before_anybody_looked_is_counted_and_checked(tmp_path: Path) -> None:
    growing = Growing(tmp_path, lambda nodes: [f"{node.name} is checked" for node in nodes])
    growing.nodes = [A, B]  # between the first question to the nodes and the first trial
    growing.step()
    growing.wait_for("b is checked")
    assert growing.limiter.max_concurrent == 12


def test_a_node_that_would_train_otherwise_ends_the_search(tmp_path: Path) -> None:
    def check(_: Sequence[Node]) -> Sequence[str]:
        raise UnfitError("paths.studies: b has not the same folder")

    growing = Growing(tmp_path, check)
    growing.nodes = [A, B]
    growing.step()
    growing.wait(lambda: growing.stop.error is not None)
    assert isinstance(growing.stop.error, ConfigError)
    assert "paths.studies: b has not the same folder" in str(growing.stop.error)
    assert "resume=mine" in str(growing.stop.error)
    assert growing.limiter.max_concurrent == 4


@pytest.mark.parametrize("error", [ConfigError("b did not answer"), RuntimeError("it left again")])
def test_a_node_that_does_not_answer_has_no_trials_of_its_own(error: Exception, tmp_path: Path) -> None:
    def check(_: Sequence[Node]) -> Sequence[str]:
        raise error

    growing = Growing(tmp_path, check)
    growing.nodes = [A, B]
    growing.step()
    growing.wait_for(f"b, which joined, is not counted: {error}")
    assert growing.limiter.max_concurrent == 4
    assert growing.stop.error is None


def failures(errors: Sequence[Exception]) -> int:
    """How many of those that end a trial's processes, all at one epoch, count as its own."""
    metadata = SimpleNamespace(num_failures=0)
    trial: Any = SimpleNamespace(trial_id="1", last_result={"epoch": 2}, run_metadata=metadata)
    with nodes_may_die():
        for error in errors:
            Trial._handle_ray_actor_error(trial, error)
    return metadata.num_failures


def died(message: str) -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = message
    return error


def test_a_nodes_death_is_not_the_trials_until_it_goes_on_and_on() -> None:
    node, process = died("The actor died because its node has died."), died("The worker process has died")
    lost = ActorUnavailableError("Socket closed", None)
    assert failures([node, lost, node]) == 0
    assert failures([process, node, process]) == 2
    assert failures([node] * (MOST_DEATHS + 3)) == 3
    before = Trial._handle_ray_actor_error
    with nodes_may_die():
        assert Trial._handle_ray_actor_error is not before
    assert Trial._handle_ray_actor_error is before


def test_what_a_job_writes_must_last(tmp_path: Path) -> None:
    copy = tmp_path / "session" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    lasting = PathsConfig(corpora="/shared/c", studies="s3://bucket/studies", log="/shared/LOG.md")
    check_paths_last(SearchConfig(paths=lasting))
    lost = PathsConfig(corpora="/shared/c", studies=str(copy / "results"), log="/shared/LOG.md")
    with pytest.raises(ConfigError, match=r"paths.studies=.*deletes after it; there are folders that last"):
        check_paths_last(SearchConfig(paths=lost))


def test_what_goes_with_a_search() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "k", "AWS_ENDPOINT_URL": "http://x", "HOME": "/root", "OMR_SEARCH_CACHE": "/c"}
    assert passed(environment) == {"AWS_ACCESS_KEY_ID": "k", "AWS_ENDPOINT_URL": "http://x"}
    others = {"GOOGLE_APPLICATION_CREDENTIALS": "/keys.json", "AZURE_STORAGE_ACCOUNT": "mine"}
    assert passed(others) == others
    assert {"corpora", "studies"} <= set(excluded())


def test_what_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = ClusterConfig(name="attach")
    monkeypatch.delenv(attached.JOB, raising=False)
    sent = attached._runtime_env(config, str(tmp_path))
    assert [Path(folder).name for folder in sent["py_modules"]] == ["datasets", "omr_model", "results", "search"]
    monkeypatch.setenv("AWS_PROFILE", "music")
    shared = attached._runtime_env(ClusterConfig(name="attach", upload=False), str(tmp_path))
    assert shared.keys() == {"env_vars"}
    assert shared["env_vars"]["AWS_PROFILE"] == "music"
    monkeypatch.setenv(attached.JOB, json.dumps({"runtime_env": {"working_dir": "gcs://code.zip"}}))
    assert attached._runtime_env(config, str(tmp_path)).keys() == {"env_vars"}  # Ray has sent the job's folder
