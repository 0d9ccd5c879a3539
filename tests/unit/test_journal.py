import errno
import io
import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import StudyError
from results.journal import EpochReported, Event, Journal, SessionStarted, TrialEnded, TrialStarted, read, to_line

STARTED = TrialStarted("a", 0, 7, {"model.decoder.dropout": 0.1}, 1.0)
REPORTED = EpochReported("a", {"epoch": 1.0, "ser": 0.5}, "checkpoints/a", 2.0)
ENDED = TrialEnded("a", "completed", "", 3.0)

times = st.floats(allow_nan=False, allow_infinity=False)
parameters = st.one_of(st.none(), st.booleans(), st.integers(), times, st.text())
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(TrialStarted, params=st.dictionaries(st.text(), parameters), time=times),
    st.builds(EpochReported, metrics=st.dictionaries(st.text(), st.floats()), time=times),
    st.builds(TrialEnded, time=times),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@given(st.lists(events, max_size=4))
def test_what_is_appended_is_read(tmp_path_factory: pytest.TempPathFactory, appended: list[Event]) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    for event in appended:
        Journal(path).append(event)
    assert list(map(repr, read(path))) == list(map(repr, appended))


@given(events)
def test_a_line_is_strict_json(event: Event) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    line = to_line(event)
    json.loads(line, parse_constant=refuse)
    assert line.count("\n") == 1
    assert line.endswith("\n")


def test_numbers_that_json_lacks_come_back(path: Path) -> None:
    Journal(path).append(EpochReported("a", {"ser": math.nan, "loss": math.inf, "gain": -math.inf}, None, 0.0))
    [event] = read(path)
    assert isinstance(event, EpochReported)
    assert math.isnan(event.metrics["ser"])
    assert (event.metrics["loss"], event.metrics["gain"]) == (math.inf, -math.inf)


def test_a_parameter_that_is_no_number_is_refused_and_leaves_no_trace(path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Journal(path).append(TrialStarted("a", 0, 0, {"train.learning_rate": math.nan}, 0.0))
    assert list(read(path)) == []


def test_no_file_is_no_event(path: Path) -> None:
    assert list(read(path)) == []


@pytest.mark.parametrize("cut", range(1, len(to_line(ENDED))))
def test_a_torn_last_line_is_passed_over_and_then_replaced(path: Path, cut: int) -> None:
    path.write_text(to_line(STARTED) + to_line(ENDED)[:-cut])
    assert list(read(path)) == [STARTED]
    Journal(path).append(REPORTED)
    assert list(read(path)) == [STARTED, REPORTED]


def test_a_first_line_may_be_torn(path: Path) -> None:
    path.write_text(to_line(STARTED)[:10])
    assert list(read(path)) == []
    Journal(path).append(STARTED)
    assert list(read(path)) == [STARTED]


class _FullDisk(io.FileIO):
    """Has room for seven bytes more, and says nothing."""

    def write(self, data: object) -> int:
        return super().write(bytes(data)[:7])  # type: ignore[call-overload]


def test_half_a_line_is_no_line_and_the_disk_is_said_to_be_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Journal(path).append(STARTED)
    before = path.read_bytes()
    with monkeypatch.context() as full:
        full.setattr(Path, "open", lambda path, mode, buffering: _FullDisk(path, mode.replace("b", "")))  # noqa: ARG005
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as raised:
            Journal(path).append(REPORTED)
    assert raised.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    Journal(path).append(REPORTED)
    assert list(read(path)) == [STARTED, REPORTED]


def test_an_event_that_cannot_be_made_safe_is_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    Journal(path).append(STARTED)
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="broken"):
            Journal(path).append(REPORTED)
    assert list(read(path)) == [STARTED]


def test_a_session_of_an_older_journal_says_nothing_of_repeats(path: Path) -> None:
    told = SessionStarted(1, "code", "command", {"trials": 4}, [], 0.0, {"top": 2, "rounds": 8, "worthwhile": 0.01})
    Journal(path).append(told)
    fields = json.loads(path.read_text())
    del fields["confirm"]
    path.write_text(path.read_text() + json.dumps(fields) + "\n")
    assert list(read(path)) == [told, SessionStarted(1, "code", "command", {"trials": 4}, [], 0.0)]


@pytest.mark.parametrize(
    "damage",
    [
        "{not json}",
        "\x00\x00\x00",
        "[]",
        '{"event":"trial_moved"}',
        '{"event":"trial_ended","trial_id":"a"}',
        '{"event":"trial_ended","trial_id":"a","state":"lost","message":"","time":0}',
        '{"event":"epoch_reported","trial_id":"a","metrics":{"ser":"low"},"checkpoint":null,"time":0}',
    ],
)
def test_damage_elsewhere_names_file_and_line(path: Path, damage: str) -> None:
    path.write_text(f"{to_line(STARTED)}{damage}\n{to_line(ENDED)}")
    with pytest.raises(StudyError, match=r"events\.jsonl, line 2: damaged"):
        list(read(path))


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of completed, pruned, paused, failed, diverged"):
        TrialEnded("a", "lost", "", 0.0)  # type: ignore[arg-type]
