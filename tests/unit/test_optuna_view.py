"""What optuna-dashboard shows of a study that has ended; asked of the dashboard itself."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.config import BudgetConfig
from search.optuna_study import SHOWN
from search.optuna_view import show_in_optuna
from tests.driven import Session, search_config, told


def storage(folder: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))


def loaded(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=storage(folder))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A search that has ended, with what its trials have read."""
    one = Session(search_config(tmp_path_factory.mktemp("studies")), samples=True)
    one.run()
    return one


class Quiet(WSGIRequestHandler):
    """Does not print each request."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """The address of a dashboard of the study's storage, as the command line makes it."""
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    app = wsgi(storage(folder), artifact_store=FileSystemArtifactStore(str(folder / "artifacts")))
    server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return bytes(answer.read())


def attributes(trial: dict[str, Any]) -> dict[str, str]:
    """Those of its own; the dashboard has them as text."""
    return {one["key"]: one["value"] for one in trial["user_attrs"]}


def test_the_dashboard_has_trials_values_attributes_and_artifacts(session: Session) -> None:
    knew = told(session.study)
    show_in_optuna(session.folder)
    assert told(loaded(session.folder)) == knew  # the sampler will not notice
    with dashboard(session.folder) as address:
        [study] = json.loads(get(f"{address}/api/studies"))["study_summaries"]
        detail = json.loads(get(f"{address}/api/studies/{study['study_id']}"))
        shown = [trial for trial in detail["trials"] if "number" in attributes(trial)]
        assert [attributes(trial)["number"] for trial in shown] == [str(number) for number in range(8)]
        replayed = {trial.start.number: trial for trial in session.chronicle.replay.trials()}
        for trial in shown:
            told_of = attributes(trial)
            history = replayed[int(told_of["number"])]
            assert (told_of["state"], float(told_of["ser"])) == (history.state, history.sers[-1])
            assert float(told_of["ser_low"]) < float(told_of["ser_high"])
            assert told_of.get("origin", "") == history.first.origin
            values = {one["step"]: one["value"] for one in trial["intermediate_values"]}
            assert values == pytest.approx(dict(zip(history.epochs, history.sers, strict=True)))
            assert {one["name"] for one in trial["params"]} == {"rate", "dropout"}
        with_artifacts = {int(attributes(trial)["number"]): trial for trial in shown if trial["artifacts"]}
        completed = [trial for trial in replayed.values() if trial.state == "completed"]
        best = min(completed, key=lambda trial: trial.sers[-1]).start.number
        assert set(with_artifacts) == {0, best}  # the base and the best
        trial = with_artifacts[best]
        files = {one["filename"]: one["artifact_id"] for one in trial["artifacts"]}
        place = f"{address}/artifacts/{study['study_id']}/{trial['trial_id']}"
        assert get(f"{place}/{files['curve.png']}").startswith(b"\x89PNG")
        worst = get(f"{place}/{files['worst staves.txt']}").decode()
        assert "  printed  clef-G2" in worst
        counts = [int(line.split(": ")[1].split()[0]) for line in worst.splitlines() if " errors in " in line]
        assert counts == sorted(counts, reverse=True)
        assert len(counts) == 10


def test_another_session_keeps_what_was_shown_and_shows_its_own_once(session: Session) -> None:
    config = search_config(session.folder.parent, budget=BudgetConfig(trials=10))
    show_in_optuna(session.folder)
    before = [{name: trial.user_attrs[name] for name in SHOWN} for trial in loaded(session.folder).trials]
    again = Session(config, samples=True)
    assert [{name: trial.user_attrs[name] for name in SHOWN} for trial in loaded(session.folder).trials[:8]] == before
    starts = [trial.first.time for trial in again.chronicle.replay.trials()]
    assert [trial.datetime_start.timestamp() for trial in again.study.trials[:8]] == pytest.approx(starts)  # type: ignore[union-attr]
    again.run()
    show_in_optuna(again.folder)
    shown = loaded(again.folder).trials
    assert ["state" in trial.user_attrs for trial in shown] == [True] * 10
    attached = [name for trial in shown for name in trial.system_attrs if name.startswith("artifacts:")]
    assert len(attached) == 4
    assert len(list((again.folder / "artifacts").iterdir())) == 4


def test_a_study_without_a_storage_or_without_a_trial_is_left_as_it_is(tmp_path: Path) -> None:
    session = Session(search_config(tmp_path))
    show_in_optuna(session.folder)
    assert [trial.state.name for trial in loaded(session.folder).trials] == ["WAITING", "WAITING"]
    (session.folder / "optuna.journal").unlink()
    show_in_optuna(session.folder)
    assert not (session.folder / "optuna.journal").exists()
