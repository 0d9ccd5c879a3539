"""What trackers are shown of a search. TensorBoard's files are read back by TensorBoard itself; of the packages of
MLflow and Weights & Biases, which the tests do not need, only what Ray's callbacks are made with and shown is seen."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from datasets.errors import ConfigError
from results.journal import EpochReported, TrialEnded, TrialStarted
from search.chronicle import Chronicle
from search.config import PathsConfig, SearchConfig
from search.engine import trackers
from search.engine.trackers import Tracker, trackers_of
from search.tracker_names import check_trackers

DROPOUT = "model.decoder.dropout"
NAME = "0003 dropout=0.2"
CONFIG = {"number": 3, "settings": {DROPOUT: 0.2}}


class Search:
    """A session of a study with one trial, and its trackers."""

    def __init__(self, studies: Path, *names: str) -> None:
        config = SearchConfig(study="demo", trackers=list(names), paths=PathsConfig(studies=str(studies)))
        config.folder().mkdir(exist_ok=True)
        self.folder = config.folder()
        self.chronicle = Chronicle(self.folder)
        self.said: list[str] = []
        self.trackers = trackers_of(config, self.chronicle, self.said.append)
        self.trial: Any = SimpleNamespace(config=CONFIG)
        for tracker in self.trackers:
            tracker.setup()

    def begin(self) -> None:
        self.chronicle.append(TrialStarted("0003", 3, 0, {DROPOUT: 0.2}, 0.0))
        for tracker in self.trackers:
            tracker.on_trial_start(0, [], self.trial)

    def report(self, epoch: int, ser: float, **more: float) -> None:
        metrics = {"epoch": float(epoch), "ser": ser, "train_loss": 2 * ser, **more}
        self.chronicle.append(EpochReported("0003", metrics, None, 0.0))
        result = {"epoch": epoch, "ser": ser, "metrics": metrics, "config": CONFIG, "pid": 1, "trial_id": "tune-1"}
        for tracker in self.trackers:
            tracker.on_trial_result(0, [], self.trial, result)

    def end(self, state: Any = "completed") -> None:
        self.chronicle.append(TrialEnded("0003", state, "", 0.0))
        for tracker in self.trackers:
            tracker.on_trial_complete(0, [], self.trial)


def scalars(folder: Path) -> Mapping[str, list[tuple[int, float]]]:
    """As TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # TensorBoard's own
def test_tensorboard_has_the_columns_of_the_tables_and_a_trial_goes_on_where_it_was(tmp_path: Path) -> None:
    search = Search(tmp_path, "tensorboard")
    search.begin()
    for epoch, ser in enumerate((0.5, 0.4, 0.3), start=1):
        search.report(epoch, ser, ser_lift=math.nan)
    search.chronicle = Chronicle(tmp_path / "demo")
    events = tmp_path / "demo" / "events.jsonl"
    events.write_text("".join(events.read_text().splitlines(keepends=True)[:-1]))  # it was killed before the third
    again = Search(tmp_path, "tensorboard")
    again.begin()
    again.report(3, 0.25)
    again.begin()  # its process died
    again.report(4, 0.2)
    again.end()
    assert not [*search.said, *again.said]
    assert scalars(again.folder / "trackers" / "tensorboard" / NAME) == {
        "epoch": [(1, 1), (2, 2), (3, 3), (4, 4)],
        "ser": [(1, 0.5), (2, 0.4), (3, 0.25), (4, 0.2)],
        "train_loss": [(1, 1.0), (2, 0.8), (3, 0.5), (4, 0.4)],
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_tensorboard_has_the_settings_beside_the_metrics(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    search = Search(tmp_path, "tensorboard")
    search.begin()
    search.report(1, 0.5)
    search.end()
    read = EventAccumulator(str(search.folder / "trackers" / "tensorboard" / NAME))
    read.Reload()
    content = read.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    assert {name: value.number_value for name, value in told.items()} == {DROPOUT: 0.2}


class FakeMlflow(ModuleType):
    """As much of MLflow as Ray's callback asks for; runs that it has been told of, by their id."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__version__ = "3.0.0"
        self.uri, self.experiments = "", dict[str, SimpleNamespace]()
        self.runs: dict[str, dict[str, Any]] = {}

    def set_tracking_uri(self, uri: str) -> None:
        self.uri = uri

    def get_tracking_uri(self) -> str:
        return self.uri

    def set_registry_uri(self, uri: str | None) -> None:
        assert uri is None

    def get_registry_uri(self) -> None:
        return None

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        return self.experiments.get(name)

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        self.experiments[name] = SimpleNamespace(experiment_id=name)
        assert artifact_location is None
        return name

    def get_run(self, run_id: str) -> dict[str, Any]:
        return self.runs[run_id]

    def active_run(self) -> None:
        return None

    def create_run(self, run_name: str, experiment_id: str, tags: dict[str, str]) -> SimpleNamespace:
        run_id = str(len(self.runs))
        self.runs[run_id] = {"name": run_name, "experiment": experiment_id, "tags": tags, "params": {}, "metrics": []}
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def log_param(self, run_id: str, key: str, value: Any) -> None:
        assert self.runs[run_id]["params"].setdefault(key, value) == value  # MLflow lets none be changed

    def log_metric(self, run_id: str, key: str, value: float, step: int) -> None:
        self.runs[run_id]["metrics"].append((step, key, value))

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id]["status"] = status


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    fake = FakeMlflow()
    client = lambda tracking_uri, registry_uri: fake  # noqa: ARG005, E731
    parts = {
        "mlflow": fake,
        "mlflow.tracking": SimpleNamespace(MlflowClient=client),
        "mlflow.exceptions": SimpleNamespace(MlflowException=KeyError),
        "mlflow.utils.mlflow_tags": SimpleNamespace(MLFLOW_RUN_NAME="mlflow.runName"),
    }
    for name, part in parts.items():
        monkeypatch.setitem(sys.modules, name, part)  # type: ignore[arg-type]
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return fake


def test_mlflow_has_a_run_a_trial_which_goes_on_in_a_later_session(tmp_path: Path, mlflow: FakeMlflow) -> None:
    for epochs in ((1, 2), (3,)):
        search = Search(tmp_path, "mlflow")
        search.begin()
        for epoch in epochs:
            search.report(epoch, 0.5 / epoch, ser_lift=math.nan)
        search.end("paused" if epochs == (1, 2) else "failed")
        assert not search.said
    [run] = mlflow.runs.values()
    assert mlflow.uri == f"sqlite:///{tmp_path}/demo/trackers/mlflow/mlflow.db"
    assert (run["name"], run["experiment"], run["status"]) == (NAME, "demo", "FAILED")
    assert run["tags"] == {"study": "demo", "trial_name": NAME}
    assert run["params"] == {DROPOUT: 0.2}
    assert {key for _, key, _ in run["metrics"]} == {"epoch", "ser", "train_loss", "training_iteration"}
    assert [(step, value) for step, key, value in run["metrics"] if key == "ser"] == [(1, 0.5), (2, 0.25), (3, 0.5 / 3)]


def test_mlflow_may_be_elsewhere_where_other_runs_are(
    tmp_path: Path, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    Search(tmp_path, "mlflow").begin()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    Search(tmp_path, "mlflow").begin()
    assert mlflow.uri == "http://tracking:5000"
    assert len(mlflow.runs) == 2
    kept = json.loads((tmp_path / "demo" / "trackers" / "mlflow" / "runs.json").read_text())
    assert kept["http://tracking:5000"] == {"3": "1"}


class FakeWandb:
    """Ray's callback, as it is made and as its processes would be begun."""

    def __init__(self, **made: Any) -> None:
        self.made = made
        self.shown: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **_: self.shown.append((name, *args))


@pytest.mark.parametrize(("key", "mode"), [(None, "offline"), ("a key", None)])
def test_wandb_stays_offline_unless_the_user_is_logged_in(
    key: str | None, mode: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.air.integrations import wandb

    monkeypatch.setattr(wandb, "WandbLoggerCallback", FakeWandb)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.delenv("WANDB_MODE")  # set back afterwards, whatever is set in between
    monkeypatch.delenv("WANDB_PROJECT_NAME", raising=False)
    if key is not None:
        monkeypatch.setenv("WANDB_API_KEY", key)
    search = Search(tmp_path, "wandb")
    search.begin()
    search.report(1, 0.5)
    search.end()
    assert not search.said
    made = search.trackers[0].logger.made  # type: ignore[attr-defined]
    folder = str(tmp_path / "demo" / "trackers" / "wandb")
    expected = {"project": "omr-search", "group": "demo", "dir": folder, "resume": "allow"}
    assert made == expected | ({"mode": mode} if mode else {})
    shown = search.trackers[0].logger.shown  # type: ignore[attr-defined]
    assert [step[0] for step in shown] == ["setup", "log_trial_start", "log_trial_result", "log_trial_end"]
    trial = shown[1][1]
    assert (str(trial), trial.trial_id, trial.config) == (NAME, "demo-0003", {DROPOUT: 0.2})
    assert Path(trial.local_path).is_dir()
    assert shown[2][3] == {"epoch": 1.0, "ser": 0.5, "train_loss": 1.0, "training_iteration": 1}


def test_a_tracker_that_fails_is_left_out_and_said_once(tmp_path: Path) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            return partial(self.fail, name)

        def fail(self, name: str, *_: object) -> None:
            raise OSError(f"{name}: no route to host")

    search = Search(tmp_path)
    tracker = Tracker("mlflow", Broken(), "demo", tmp_path, search.chronicle, search.said.append)  # type: ignore[arg-type]
    search.trackers.append(tracker)
    search.begin()
    search.report(1, 0.5)
    search.end()
    assert search.said == [
        "trackers=mlflow: OSError: log_trial_start: no route to host; it gets no more of this search"
    ]


def test_a_tracker_that_is_not_installed_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.tracker_names.find_spec", lambda name: None if name == "tensorboardX" else object())
    check_trackers(["mlflow", "wandb"])
    with pytest.raises(ConfigError, match=r"trackers=tensorboard: not installed; there is `pip install tensorboardX`"):
        check_trackers(["mlflow", "tensorboard"])


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(ConfigError, match="choose tensorboard, mlflow, wandb"):
        SearchConfig(trackers=["tensorbord"])
    assert set(trackers.LOGGERS) == {"tensorboard", "mlflow", "wandb"}
