import json
import os
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import StudyError
from datasets.parquet import to_parquet
from results.gather import GatherConfig, gather, gather_reports, standing, write_reports
from results.journal import (
    EpochReported,
    Journal,
    Parameter,
    SessionEnded,
    SessionStarted,
    TrialEnded,
    TrialStarted,
    read,
    to_line,
)
from results.replay import Replay
from results.schema import EPOCHS, SAMPLES, STUDY_KEY, TRIALS
from results.study import from_json, to_json
from results.tables import StandingEpochs, epochs_table, trials_table
from tests.studies import SECONDS_PER_EPOCH, FakeTrial, checkpoint_of, events_of, make_study, metrics, study_record

TRIALS_OF_ALL_STATES = (
    FakeTrial(0, (0.9, 0.5, 0.3)),
    FakeTrial(1, (0.8, 0.4), "pruned"),
    FakeTrial(2, (0.9,), "paused"),
    FakeTrial(3, (), "failed"),
    FakeTrial(4, (float("nan"),), "diverged"),
    FakeTrial(5, (0.7,), None),
)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make_study(tmp_path, [FakeTrial(0, (0.9, 0.5, 0.3)), FakeTrial(1, (0.8, 0.4), "pruned")])


def column(table: pa.Table, name: str) -> list[object]:
    return table[name].to_pylist()


def test_every_state_is_in_the_record(tmp_path: Path) -> None:
    trials = gather(make_study(tmp_path, TRIALS_OF_ALL_STATES, checkpoints=False)).trials
    states = ["completed", "pruned", "paused", "failed", "diverged", "running"]
    assert column(trials, "state") == states
    assert column(trials, "ser") == [0.3, 0.4, 0.9, None, None, 0.7]
    assert column(trials, "epochs") == [3, 2, 1, 0, 1, 1]
    assert column(trials, "message")[0] == "completed for a test"
    assert column(trials, "message")[5] is None
    assert column(trials, "ended")[5] is None


def test_sums_and_peaks_are_over_the_epochs(study: Path) -> None:
    trials = gather(study).trials
    assert column(trials, "seconds") == [3 * SECONDS_PER_EPOCH, 2 * SECONDS_PER_EPOCH]
    assert column(trials, "gpu_seconds") == [3 * SECONDS_PER_EPOCH, 2 * SECONDS_PER_EPOCH]
    assert column(trials, "peak_memory_bytes") == [1_000_000_003, 1_000_000_002]


def test_intervals_come_from_the_last_samples(study: Path) -> None:
    tables = gather(study)
    for row in tables.trials.to_pylist():
        samples = tables.samples.of(row["trial_id"])
        ser = pa.compute.sum(samples["distance"]).as_py() / pa.compute.sum(samples["reference_length"]).as_py()
        assert row["ser_low"] < ser < row["ser_high"]


def test_samples_of_an_earlier_epoch_give_no_interval(study: Path) -> None:
    Journal(study / "events.jsonl").append(EpochReported("fake_00000", metrics(4, 0.2), None, 0.0))
    tables = gather(study)
    assert column(tables.trials, "ser_low")[0] is None
    assert tables.missing_samples == 0


def test_an_empty_study_has_valid_empty_tables(tmp_path: Path) -> None:
    tables = gather(make_study(tmp_path, []))
    assert (tables.trials.num_rows, tables.epochs.num_rows, len(tables.samples)) == (0, 0, 0)
    assert tables.trials.schema.names == [*TRIALS.names, "params.model.decoder.dropout"]
    assert tables.epochs.schema.equals(EPOCHS)
    assert tables.samples.table().schema.equals(SAMPLES)


def test_a_study_may_be_gathered_at_every_moment(tmp_path: Path) -> None:
    """As a reader beside a running search, and as one that comes after a crash."""
    folder = make_study(tmp_path, [])
    text = "".join(to_line(event) for trial in TRIALS_OF_ALL_STATES for event in events_of(trial))
    for end in range(0, len(text), 499):
        (folder / "events.jsonl").write_text(text[:end])
        written = write_reports(folder)
        assert pq.read_table(folder / "reports" / "trials.parquet").num_rows == written.trials.num_rows
    assert written.trials.num_rows > 4


def test_what_the_driver_keeps_gives_the_tables_of_the_journal(tmp_path: Path) -> None:
    """Event by event, as it keeps a study in mind and writes its reports out of that."""
    folder, kept = make_study(tmp_path, TRIALS_OF_ALL_STATES), Replay()
    for event in read(folder / "events.jsonl"):
        kept.add(event)
        StandingEpochs(kept)  # looking at it on the way changes nothing
    told, whole = gather(folder, kept), gather(folder)
    for name in ("trials", "epochs"):
        assert getattr(told, name).equals(getattr(whole, name), check_metadata=True)
    assert told.samples.table().equals(whole.samples.table())


def test_a_study_stands_as_its_reports_say_until_something_happens(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, record = Journal(study / "events.jsonl"), study_record()
    journal.append(SessionStarted(1, "", "", {}, [], 0.0))
    journal.append(SessionEnded("finished", 1.0, 0.0))
    by_journal = standing(study, record)
    write_reports(study)
    with monkeypatch.context() as patch:
        patch.setattr("results.gather.read", lambda _: pytest.fail("the journal was read"))
        by_reports = standing(study, record)
    same = ["trial_id", "number", "state", "ser", "epochs", "repeats"]
    assert by_reports.trials.select(same).to_pylist() == by_journal.trials.select(same).to_pylist()
    assert (by_reports.begun, by_reports.outcome) == (by_journal.begun, by_journal.outcome) == (True, "finished")
    journal.append(SessionStarted(2, "", "", {}, [], 0.0))
    assert standing(study, record).outcome is None


@pytest.mark.parametrize("damage", ["torn", "older", "another journal"])
def test_reports_that_cannot_be_gone_by_are_passed_over(study: Path, damage: str) -> None:
    write_reports(study)
    trials, journal = study / "reports" / "trials.parquet", study / "events.jsonl"
    if damage == "torn":
        trials.write_bytes(trials.read_bytes()[:100])
    elif damage == "older":
        pq.write_table(pq.read_table(trials).replace_schema_metadata({}), trials)
    else:  # of the same length, and written later
        journal.write_bytes(journal.read_bytes().replace(b'"pruned"', b'"failed"'))
        os.utime(trials, (0, 0))
    expected = "failed" if damage == "another journal" else "pruned"
    assert column(standing(study, study_record()).trials, "state") == ["completed", expected]


def test_a_damaged_journal_names_the_line(study: Path) -> None:
    journal = study / "events.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([lines[0], "oops\n", *lines[1:]]))
    with pytest.raises(StudyError, match="line 2"):
        gather(study)


def test_an_event_before_its_start_is_damage(study: Path) -> None:
    Journal(study / "events.jsonl").append(TrialEnded("who", "failed", "", 0.0))
    with pytest.raises(StudyError, match="trial who before its start"):
        gather(study)


def test_a_resumed_trial_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """It reached epoch 3, crashed, went on from epoch 1, and has now reached epoch 2 again."""
    folder = make_study(tmp_path, [FakeTrial(0, (0.9, 0.5, 0.3), "failed")], checkpoints=False)
    journal = Journal(folder / "events.jsonl")
    journal.append(TrialStarted("fake_00000", 0, 100, {"model.decoder.dropout": 0.1}, 2e9))
    journal.append(EpochReported("fake_00000", metrics(2, 0.6), None, 2e9))
    tables = gather(folder)
    [trial] = tables.trials.to_pylist()
    assert (trial["state"], trial["epochs"], trial["ser"], trial["message"]) == ("running", 2, 0.6, None)
    assert trial["started"].year == 2023
    assert column(tables.epochs, "ser") == [0.9, 0.6]
    journal.append(TrialEnded("fake_00000", "completed", "", 2e9))
    assert column(gather(folder).trials, "state") == ["completed"]


@pytest.mark.parametrize("damage", ["gone", "torn"])
def test_a_lost_checkpoint_is_counted_and_passed_over(study: Path, damage: str) -> None:
    checkpoint = study / checkpoint_of(FakeTrial(0, ()))
    if damage == "gone":
        shutil.rmtree(checkpoint)
    else:
        (checkpoint / "samples.parquet").write_bytes(b"PAR1")
    tables = gather(study)
    assert tables.missing_samples == 1
    assert set(tables.samples.epochs) == {"fake_00001"}
    assert column(tables.trials, "ser_low")[0] is None


@pytest.mark.parametrize("rows", [10, 30, 10_000])
def test_what_was_read_outlives_the_checkpoints_in_the_report(tmp_path: Path, rows: int) -> None:
    """However the trials, of 24 staves each, fall into its row groups: several in one, or one in several."""
    trials = [FakeTrial(number, (0.6, 0.3 + number / 20)) for number in range(5)]
    folder = make_study(tmp_path, trials)
    before = write_reports(folder)
    whole, report = before.samples.table(), folder / "reports" / "samples.parquet"
    pq.write_table(pq.read_table(report), report, row_group_size=rows)
    for trial in trials[:4]:
        shutil.rmtree(folder / checkpoint_of(trial))
    for tables in (gather(folder), write_reports(folder), before):
        assert tables.samples.table().equals(whole)
    assert gather(folder).trials.equals(before.trials)
    Journal(folder / "events.jsonl").append(EpochReported(trials[0].trial_id, metrics(3, 0.2), "gone", 0.0))
    assert gather(folder).missing_samples == 1  # what the report has is of an earlier epoch


def test_a_damaged_report_is_passed_over(study: Path) -> None:
    write_reports(study)
    shutil.rmtree(study / checkpoint_of(FakeTrial(0, ())))
    (study / "reports" / "samples.parquet").write_bytes(b"PAR1 and no more")
    assert set(gather(study).samples.epochs) == {"fake_00001"}


def test_samples_of_before_confidences_were_kept_are_read(study: Path) -> None:
    old, new = (study / checkpoint_of(FakeTrial(number, ())) / "samples.parquet" for number in (0, 1))
    pq.write_table(pq.read_table(old).drop_columns(["confidences"]), old)
    samples = gather(study).samples
    assert samples.of("fake_00001")["confidences"].to_pylist() == pq.read_table(new)["confidences"].to_pylist()
    without = samples.of("fake_00000")
    assert without.schema.equals(SAMPLES)
    assert without["confidences"].null_count == len(without) > 0


def test_a_checkpoint_may_lie_outside_the_study(tmp_path: Path, study: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(study / checkpoint_of(FakeTrial(0, ())), elsewhere)
    Journal(study / "events.jsonl").append(EpochReported("fake_00000", metrics(3, 0.3), str(elsewhere), 0.0))
    assert gather(study).missing_samples == 0


def test_a_metric_beyond_the_schema_is_kept(study: Path) -> None:
    Journal(study / "events.jsonl").append(
        EpochReported("fake_00000", metrics(4, 0.2) | {"temperature": 71.5}, None, 0.0)
    )
    assert column(gather(study).epochs, "temperature") == [None, None, None, 71.5, None, None]


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ((0.1, 1), pa.float64(), [0.1, 1.0]),
        ((4, 6), pa.int64(), [4, 6]),
        ((True, None), pa.bool_(), [True, None]),
        (("full", "reduced"), pa.string(), ["full", "reduced"]),
        (("auto", 4), pa.string(), ["auto", "4"]),
        ((True, 4), pa.string(), ["true", "4"]),
    ],
)
def test_parameters_are_typed_by_their_values(
    tmp_path: Path, values: tuple[Parameter, ...], kind: pa.DataType, stored: list[object]
) -> None:
    trials = [FakeTrial(number, (0.5,), params={"x": value}) for number, value in enumerate(values)]
    table = gather(make_study(tmp_path, trials, parameters=["x"], checkpoints=False)).trials
    assert table.schema.field("params.x").type == kind
    assert column(table, "params.x") == stored


def test_every_file_says_which_study_it_is_of(study: Path) -> None:
    write_reports(study)
    for name in ("trials", "epochs", "samples"):
        schema = pq.read_schema(study / "reports" / f"{name}.parquet")
        assert from_json(schema.metadata[STUDY_KEY.encode()].decode()) == study_record()
        assert all(field.metadata[b"description"] for field in schema)


def test_pandas_duckdb_and_pyarrow_read_the_same(tmp_path: Path) -> None:
    folder = make_study(tmp_path, TRIALS_OF_ALL_STATES)
    written = write_reports(folder)
    for name in ("trials", "epochs", "samples"):
        file = folder / "reports" / f"{name}.parquet"
        table = written.samples.table() if name == "samples" else getattr(written, name)
        assert pq.read_table(file).equals(table)
        pd.testing.assert_frame_equal(pd.read_parquet(file), table.to_pandas())
        fetched = duckdb.sql(f"from '{file}'").fetchall()
        assert fetched == [tuple(row.values()) for row in table.to_pylist()]


def test_a_question_in_sql(tmp_path: Path) -> None:
    folder = make_study(tmp_path, TRIALS_OF_ALL_STATES)
    write_reports(folder)
    trials, samples = (folder / "reports" / f"{name}.parquet" for name in ("trials", "samples"))
    [(ser,)] = duckdb.sql(
        f"select sum(distance) / sum(reference_length) from '{samples}' join '{trials}' using (trial_id) "
        "where state = 'completed'"
    ).fetchall()
    assert 0 < ser < 1


def test_reports_replace_older_ones_and_leave_nothing_beside(study: Path) -> None:
    for _ in range(2):
        write_reports(study)
    names = sorted(path.name for path in (study / "reports").iterdir())
    assert names == ["epochs.parquet", "samples.parquet", "trials.parquet"]


def test_the_command_says_what_it_wrote(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(study / checkpoint_of(FakeTrial(0, ())))
    gather_reports(GatherConfig(study="demo", studies=str(study.parent)))
    printed = capsys.readouterr().out
    assert "2 trials, 5 epochs" in printed
    assert printed.endswith("gone, and with it their samples: 1\n")


numbers = st.floats(width=64)
steps = st.tuples(st.integers(0, 2), st.integers(1, 4), numbers)


@given(st.lists(steps, max_size=20))
def test_the_epochs_that_stand_survive_storage(drawn: list[tuple[int, int, float]]) -> None:
    """Against a model in five lines: a report removes what its trial reported for that epoch and later."""
    replay = Replay(TrialStarted(str(number), number, 0, {}, 0.0) for number in range(3))
    standing: dict[int, dict[int, float]] = {number: {} for number in range(3)}
    for number, epoch, ser in drawn:
        replay.add(EpochReported(str(number), {"epoch": float(epoch), "ser": ser}, None, 0.0))
        kept = {one: value for one, value in standing[number].items() if one < epoch}
        standing[number] = kept | {epoch: ser}

    columns = StandingEpochs(replay)
    stored = pq.read_table(pa.BufferReader(to_parquet(epochs_table(columns, "demo"))))
    expected = [(str(number), epoch, ser) for number in standing for epoch, ser in standing[number].items()]
    found = list(zip(column(stored, "trial_id"), column(stored, "epoch"), stored["ser"].to_numpy(), strict=True))
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    np.testing.assert_array_equal([row[2] for row in found], [row[2] for row in expected])

    trials = pq.read_table(pa.BufferReader(to_parquet(trials_table(columns, "demo", [], {}))))
    assert column(trials, "epochs") == [max(epochs, default=0) for epochs in standing.values()]


def test_the_study_record_is_strict_json() -> None:
    assert json.loads(to_json(study_record()))["provenance"]["code"]["run_number"] == 77
