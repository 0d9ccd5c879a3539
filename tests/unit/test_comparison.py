"""Side by side: what is compared, on what ground, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets.errors import ConfigError, LogError, StudyError
from results.comparison import Comparison, Pair, compare
from results.evidence import decisions_of
from results.gather import gather
from results.log_format import format_log
from results.log_records import LogRun, TrainingLog
from results.page.plain import fragment, markdown, text
from results.provenance import CodeVersion
from results.side_by_side import pair_text, sections
from results.statistics import difference_interval, student_quantile
from results.study import StudyRecord, read_study, write_study
from tests.studies import FakeTrial, checkpoint_of, make_study

BASE, OTHER = FakeTrial(0, (0.9, 0.5), origin="base"), FakeTrial(1, (0.8, 0.3))
RUN = LogRun(number=63, hours=26, ser=0.74, manual=13.7, settings={"model.decoder.depth": 6})


def repeats(number: int, *sers: float, first: int) -> list[FakeTrial]:
    """Trainings of a trial's setting with other seeds."""
    return [FakeTrial(first + turn, (0.9, ser), repeats=number) for turn, ser in enumerate(sers)]


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Two studies of two trials that read the same staves, and a log of one run."""
    make_study(tmp_path, [BASE, OTHER], name="one")
    make_study(tmp_path, [FakeTrial(5, (0.9, 0.45), origin="base"), FakeTrial(6, (0.9, 0.2))], name="two")
    (tmp_path / "LOG.md").write_text(format_log(TrainingLog("", (RUN,))), encoding="utf-8")
    return tmp_path


def comparison(studies: Path, *names: str) -> Comparison:
    return compare(names, studies, studies / "LOG.md")


def pair(studies: Path, *names: str) -> Pair:
    [found] = comparison(studies, *names).pairs
    return found


def read(folder: Path, trial: FakeTrial) -> pa.Table:
    return pq.read_table(folder / checkpoint_of(trial) / "samples.parquet").sort_by("staff_id")


def rewrite(folder: Path, number: int, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change what a trial's checkpoint says that it has read."""
    path = folder / checkpoint_of(FakeTrial(number, ())) / "samples.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def change_record(folder: Path, **fields: object) -> None:
    write_study(folder, dataclasses.replace(read_study(folder), **fields))


def with_config(folder: Path, group: str, **fields: object) -> None:
    config = read_study(folder).config
    change_record(folder, config=config | {group: config.get(group, {}) | fields})


def test_one_seed_each_is_a_paired_bootstrap_and_tells_no_settings_apart(studies: Path) -> None:
    found = pair(studies, "one/0", "one/1")
    own, other = read(studies / "one", BASE), read(studies / "one", OTHER)
    counts = [table["distance"].to_numpy() for table in (own, other)]
    length = own["reference_length"].to_numpy()
    assert found.difference is not None
    assert found.difference.basis == "one seed"
    assert found.difference.difference == pytest.approx((counts[1].sum() - counts[0].sum()) / length.sum())
    assert (found.difference.low, found.difference.high) == difference_interval(
        *counts, length, own["work"].to_pylist()
    )
    assert found.difference.high < 0
    assert not found.difference.clear
    assert "it takes more seeds" in pair_text(found)
    assert any("one seed" in note for note in found.notes)


def test_the_other_way_round_is_the_same_with_the_other_sign(studies: Path) -> None:
    make_study(studies, [BASE, OTHER, *repeats(0, 0.5, 0.4, first=2), *repeats(1, 0.3, 0.2, first=4)], name="repeated")
    for names in (("one/0", "two/6"), ("repeated/0", "two/6"), ("repeated/0", "repeated/1")):
        there, back = pair(studies, *names).difference, pair(studies, *reversed(names)).difference
        assert there is not None
        assert back is not None
        assert (there.difference, there.seeds) == (pytest.approx(-back.difference), back.other_seeds)
        assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))
        assert (there.clear, there.basis) == (back.clear, back.basis)


def test_seeds_widen_the_interval_and_the_picked_run_is_left_out(studies: Path) -> None:
    """The candidate's first run, which is far better than its repeats, has no part in it; the base's has."""
    trials = [BASE, FakeTrial(1, (0.8, 0.01)), *repeats(0, 0.55, 0.5, first=2), *repeats(1, 0.3, 0.2, first=4)]
    folder = make_study(studies, trials, name="repeated")
    found = pair(studies, "two/5", "repeated/1").difference
    assert found is not None
    assert (found.basis, found.seeds, found.other_seeds) == ("seeds", 1, 2)

    tables = {trial.number: read(folder, trial) for trial in trials}
    alone = read(studies / "two", FakeTrial(5, ()))
    length = alone["reference_length"].to_numpy()
    rates = {number: table["distance"].to_numpy().sum() / length.sum() for number, table in tables.items()}
    groups = [[rates[0], rates[2], rates[3]], [rates[4], rates[5]]]
    spread = math.sqrt(sum(np.var(group) * len(group) for group in groups) / 3)
    assert found.seed_spread == pytest.approx(spread)
    expected = np.mean(groups[1]) - alone["distance"].to_numpy().sum() / length.sum()
    assert found.difference == pytest.approx(expected)
    by_seeds = student_quantile(0.025, 3) * spread * math.sqrt(1 + 1 / 2)
    assert (found.high - found.low) / 2 > by_seeds
    assert found.clear == (found.high < 0)


def test_what_diverges_with_other_seeds_is_never_the_better_one(studies: Path) -> None:
    again = [*repeats(0, 0.5, 0.51, 0.49, first=2), *repeats(1, 0.1, 0.1, 0.12, first=5)]
    make_study(studies, [BASE, FakeTrial(1, (0.8, 0.1)), *again], name="steady")
    make_study(
        studies, [BASE, FakeTrial(1, (0.8, 0.1)), *again, FakeTrial(8, (0.9,), "diverged", repeats=1)], name="wild"
    )
    steady, wild = (pair(studies, "two/5", f"{name}/1").difference for name in ("steady", "wild"))
    assert steady is not None
    assert wild is not None
    assert (steady.low, steady.high) == (wild.low, wild.high)
    assert (steady.clear, wild.clear) == (True, False)


def test_what_one_lucky_run_was_picked_by_is_never_told_apart(studies: Path) -> None:
    """The base was trained again and the other was not: who picks the best of many picks the luck of its one seed."""
    again = repeats(0, 0.9, 0.91, 0.9, 0.89, first=10)
    picked = [FakeTrial(number, (0.9, 0.02 * number)) for number in range(1, 4)]
    make_study(studies, [FakeTrial(0, (0.9, 0.9), origin="base"), *picked, *again], name="many")
    make_study(studies, [FakeTrial(7, (0.9, 0.05))], name="single")
    for names in (("many/0", "two"), ("many/0", "two/6"), ("two/6", "many/0"), ("many/0", "many/3")):
        found = pair(studies, *names)
        assert found.difference is not None
        assert found.difference.basis == "seeds"
        assert not found.difference.low <= 0 <= found.difference.high
        assert (found.difference.picked, found.difference.clear) == (True, False)
        assert "they are not told apart: one may have been picked by the very run" in pair_text(found)
        assert "is better" not in pair_text(found)
    best, third = pair(studies, "many/0", "two").notes, pair(studies, "many/0", "many/3").notes
    assert any("two is the best of 2 trials, chosen on these very staves" in note for note in best)
    assert any(note.startswith("One run of many/3 is compared") for note in third)

    alone = pair(studies, "many/0", "single").difference
    assert alone is not None
    assert (alone.basis, alone.picked, alone.clear) == ("seeds", False, True)


def test_a_base_that_its_study_ends_with_was_picked_too(studies: Path) -> None:
    make_study(studies, [FakeTrial(0, (0.9, 0.05), origin="base"), FakeTrial(1, (0.9, 0.8))], name="ended")
    again = repeats(0, 0.9, 0.91, 0.9, 0.89, first=10)
    make_study(studies, [FakeTrial(0, (0.9, 0.9), origin="base"), *again], name="many")
    found = pair(studies, "many", "ended").difference
    assert found is not None
    assert (found.basis, found.picked, found.clear) == ("seeds", True, False)


def test_base_and_candidate_of_one_study_have_the_studys_own_answer(studies: Path) -> None:
    trials = [BASE, OTHER, *repeats(0, 0.5, 0.52, 0.5, 0.51, first=2), *repeats(1, 0.3, 0.2, 0.25, 0.3, first=6)]
    folder = make_study(studies, trials, name="decided")
    [decision] = decisions_of(read_study(folder), gather(folder))
    found = pair(studies, "decided/0", "decided/1")
    assert found.difference is not None
    assert found.difference.basis == "decision"
    assert (found.difference.low, found.difference.high) == (decision.low, decision.high)
    assert found.difference.clear == (decision.verdict == "adopt")
    assert any(note.startswith(("Adopt", "Undecided")) for note in found.notes)


def test_a_study_stands_for_the_trial_that_it_ends_with(studies: Path) -> None:
    assert pair(studies, "one", "two") == dataclasses.replace(
        pair(studies, "one/1", "two/6"), first="one", other="two", notes=pair(studies, "one", "two").notes
    )
    assert any("best of 2 trials" in note for note in pair(studies, "one", "two").notes)


def drop_staves(studies: Path) -> None:
    rewrite(studies / "two", 6, lambda table: table.slice(3))


def relabel(studies: Path) -> None:
    def changed(table: pa.Table) -> pa.Table:
        labels = table["reference"].to_pylist()
        return table.set_column(
            table.column_names.index("reference"), "reference", pa.array(["rest-half", *labels[1:]])
        )

    rewrite(studies / "two", 6, changed)


def one_work(studies: Path) -> None:
    for study, number in (("one", 1), ("two", 6)):
        rewrite(
            studies / study,
            number,
            lambda table: table.set_column(table.column_names.index("work"), "work", pa.array(["a"] * len(table))),
        )


def reduce_vocabulary(studies: Path) -> None:
    with_config(studies / "two", "model", vocabulary="reduced")


def lose_samples(studies: Path) -> None:
    (studies / "two" / checkpoint_of(FakeTrial(6, ())) / "samples.parquet").unlink()


def nothing(studies: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "names", "reason"),
    [
        (drop_staves, ("one", "two"), "different staves: 24 of engraved 0123456789ab and 21 of engraved 0123456789ab"),
        (relabel, ("one", "two"), "1 of the 24 staves that they were validated on have another label"),
        (one_work, ("one", "two"), "staves of two works at least"),
        (reduce_vocabulary, ("one", "two"), "the reduced one; a search with train.scored_in=reduced scores all in one"),
        (lose_samples, ("one", "two/6"), "what two/6 read after its last epoch is lost"),
        (nothing, ("one", "run:63"), "the training log has no counts by staff of run:63"),
        (nothing, ("run:63", "two"), "the training log has no counts by staff of run:63"),
        (nothing, ("one", "one/1"), "both are trial 1 of one"),
    ],
)
def test_a_false_comparison_is_refused_with_its_reason(
    studies: Path, spoil: Callable[[Path], None], names: tuple[str, str], reason: str
) -> None:
    spoil(studies)
    found = pair(studies, *names)
    assert found.difference is None
    assert reason in pair_text(found)
    assert "errs" not in pair_text(found)


@pytest.mark.parametrize("state", ["pruned", "paused", "failed", "diverged", None])
def test_a_trial_that_was_not_trained_to_its_end_is_not_compared(studies: Path, state: str | None) -> None:
    make_study(studies, [BASE, FakeTrial(1, (0.9, 0.2), state)], name="early")  # type: ignore[arg-type]
    found = pair(studies, "one", "early/1")
    assert found.refusals == (f"early/1 was not trained to its end ({state or 'running'}, epochs: 2)",)


def test_trainings_of_one_setting_differ_in_the_seed_alone(studies: Path) -> None:
    make_study(studies, [BASE, OTHER, *repeats(0, 0.5, 0.4, first=2)], name="repeated")
    for names in (("repeated/0", "repeated/2"), ("repeated/2", "repeated/3")):
        assert "differ in the seed alone" in pair_text(pair(studies, *names))


def other_code(record: StudyRecord) -> StudyRecord:
    code = CodeVersion(commit="c" * 40, run_number=99)
    return dataclasses.replace(record, provenance=dataclasses.replace(record.provenance, code=code))


def other_corpus(record: StudyRecord) -> StudyRecord:
    return dataclasses.replace(record, corpus=dataclasses.replace(record.corpus, hash="f" * 16))


def other_picture(record: StudyRecord) -> StudyRecord:
    return dataclasses.replace(record, config=record.config | {"model": {"height": 64, "width": 256}})


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (other_code, "DIFFERENT CODE trained them (one: commit 9e2c1412 (the 77th), uncommitted changes; two: commit"),
        (other_corpus, "different corpora (engraved 0123456789ab, engraved ffffffffffff)"),
        (other_picture, "different sizes: not set x not set and 64 x 256 pixels"),
    ],
)
def test_what_has_to_be_borne_in_mind_is_said(
    studies: Path, change: Callable[[StudyRecord], StudyRecord], note: str
) -> None:
    assert not any(note[:15] in said for said in pair(studies, "one", "two").notes)
    write_study(studies / "two", change(read_study(studies / "two")))
    found = pair(studies, "one", "two")
    assert found.difference is not None
    assert any(note in said for said in found.notes)


def test_other_epochs_and_diverged_repeats_are_said(studies: Path) -> None:
    short = [FakeTrial(0, (0.4,), origin="base"), FakeTrial(1, (0.9,), "diverged", repeats=0)]
    make_study(studies, short, name="short")
    notes = pair(studies, "one", "short").notes
    assert any("different numbers of epochs: 2, 1" in note for note in notes)
    assert any("short diverged with 1 more seed:" in note for note in notes)


def test_settings_that_differ_and_no_others(studies: Path) -> None:
    make_study(
        studies,
        [BASE, FakeTrial(1, (0.9, 0.2), params={"model.decoder.dropout": 0.123456789})],
        name="three",
    )
    with_config(studies / "three", "train", seed=3, betas=[0.9, 0.98])
    with_config(studies / "three", "sampler", name="random")
    found = {one.place: one.values for one in comparison(studies, "one", "three", "run:63").settings}
    assert found == {
        "model.decoder.depth": ("4", "4", "6"),
        "model.decoder.dropout": ("0.1", "0.1235", "not known"),
        "train.betas": ("[0.9, 0.999]", "[0.9, 0.98]", "not known"),
    }


def test_values_that_four_digits_do_not_tell_apart_have_more(studies: Path) -> None:
    make_study(studies, [FakeTrial(0, (0.5, 0.4), params={"model.decoder.dropout": 0.1000001})], name="near")
    [found] = comparison(studies, "one", "near").settings
    assert found.values == ("0.1", "0.1000001")


def test_the_logs_ser_stands_beside_its_own_benchmark_alone(studies: Path) -> None:
    said = pair(studies, "one", "run:63")
    assert "its SER is another quantity" in said.notes[0]
    assert comparison(studies, "one", "run:63").contestants[0].figures.log_ser is None

    def photographed(table: pa.Table) -> pa.Table:
        rows = (table.to_pylist() * 3)[:71]
        staves = [
            row | {"staff_id": f"s{place}", "work": f"w{place % 3}", "source": "photographed"}
            for place, row in enumerate(rows)
        ]
        return pa.Table.from_pylist(staves)

    rewrite(studies / "one", 1, photographed)
    both = comparison(studies, "one", "run:63")
    assert both.pairs[0].notes == ()
    assert [one.figures.log_ser for one in both.contestants] == [pytest.approx(1.1 * 0.3), 0.74]
    assert "SER as the log measured it" in text(sections(both))


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (("one",), ConfigError, "name two or more"),
        (("one", "one"), ConfigError, "one: named twice"),
        (("one", "ono"), StudyError, r"study=ono: no such study in .*; there are one, two \(did you mean one"),
        (("one", "two/9"), StudyError, "trial=9: no such trial; there are 5"),
        (("one", "run:7"), LogError, "run=7: no such run in the training log; there are 63"),
        (("one", "none"), StudyError, "none: no trial is completed yet.*name one of them: none/NUMBER"),
    ],
)
def test_what_is_not_there_is_named(
    studies: Path, names: tuple[str, ...], error: type[Exception], message: str
) -> None:
    if "none" in names:
        make_study(studies, [FakeTrial(0, (0.5,), None)], name="none")
    with pytest.raises(error, match=message):
        comparison(studies, *names)


def test_no_name_gets_out_of_its_cell(studies: Path) -> None:
    name = "<script>a|b*c*"
    make_study(studies, [BASE, OTHER], name=name)
    shown = sections(comparison(studies, "two", name))
    assert "<script>" not in fragment(shown)
    assert "<script>" not in markdown(shown).replace(r"\<script>", "")
    assert name in text(shown)
    assert r"| figure | two | &lt;script>a\|b*c* |" in markdown(shown)
