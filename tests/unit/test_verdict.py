import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pytest

from datasets.errors import StudyError
from results.evidence import Decision
from results.ranking import RankedTrial, rank
from results.replay import Replay
from results.samples import LoadedSamples, Samples
from results.schema import SAMPLES
from results.tables import StandingEpochs, trials_table
from results.verdict import Comparison, against_base, decision_text, first_sentence, how_decided, verdict
from results.winner import winner, winner_if_any
from tests.studies import FakeTrial, events_of

WORKS, LENGTH = 10, 20
BASE_READS = [8 + work % 3 for work in range(WORKS)]
BETTER = [errors - 2 - work % 2 for work, errors in enumerate(BASE_READS)]
WORSE = [errors + 2 + work % 2 for work, errors in enumerate(BASE_READS)]
LIKE = [errors + (-2 if work % 3 else 2) for work, errors in enumerate(BASE_READS)]


def ranked(*trials: FakeTrial) -> list[RankedTrial]:
    replay = Replay(event for trial in trials for event in events_of(trial))
    return rank(trials_table(StandingEpochs(replay), "demo", [], {}))


def fake(number: int, errors: Sequence[int], origin: str = "", state: str = "completed") -> FakeTrial:
    rate = sum(errors) / (LENGTH * len(errors))
    return FakeTrial(number, (0.9, rate), state, origin=origin)  # type: ignore[arg-type]


def read(errors: Mapping[int, Sequence[int]], epoch: int = 2, works: int = WORKS) -> Samples:
    """Samples of one staff a work and trial, with so many errors each; their order differs between trials."""
    rows = [
        {
            "trial_id": FakeTrial(number, ()).trial_id,
            "epoch": epoch,
            "staff_id": f"staff-{staff}",
            "work": f"work-{staff % works}",
            "distance": distance,
            "reference_length": LENGTH,
        }
        for number, distances in errors.items()
        for staff, distance in sorted(enumerate(distances), key=lambda pair: pair[0] * (-1) ** number)
    ]
    return LoadedSamples(pa.Table.from_pylist(rows, schema=SAMPLES))


def against(errors: Sequence[int], **fields: int) -> Comparison | None:
    """Trial 1 with these errors against the base."""
    ranking = ranked(fake(0, BASE_READS, "base"), fake(1, errors))
    trial = next(trial for trial in ranking if trial.number == 1)
    return against_base(trial, ranking, read({0: BASE_READS, 1: errors}, **fields))


def test_a_better_trial_is_below_zero() -> None:
    compared = against(BETTER)
    assert compared is not None
    assert compared.difference == pytest.approx(-2.5 / LENGTH)
    assert compared.low < compared.difference < compared.high < 0
    assert compared.judgement == "better"


def test_a_worse_trial_is_the_mirror_image() -> None:
    better, worse = against(BETTER), against(WORSE)
    assert better is not None
    assert worse is not None
    assert (worse.difference, worse.low, worse.high) == pytest.approx((-better.difference, -better.high, -better.low))
    assert worse.judgement == "worse"


def test_an_interval_that_holds_zero_decides_nothing() -> None:
    compared = against(LIKE)
    assert compared is not None
    assert compared.low < 0 < compared.high
    assert compared.judgement == "undecided"
    assert against(BASE_READS) == Comparison(0.0, 0.0, 0.0, "undecided")


def test_only_staves_that_both_read_count() -> None:
    """The trial is worse on the base's staves; of the others it reads every symbol."""
    ranking = ranked(fake(0, BASE_READS, "base"), fake(1, [0] * WORKS))
    compared = against_base(ranking[0], ranking, read({0: BASE_READS, 1: [*WORSE, *[0] * 50]}))
    assert compared is not None
    assert compared.difference == pytest.approx(2.5 / LENGTH)
    assert compared.judgement == "worse"


def test_there_is_no_telling_without_two_trained_to_the_end() -> None:
    samples = read({0: BASE_READS, 1: BETTER, 2: BETTER})
    trained, stopped = fake(1, BETTER), fake(2, BETTER, state="pruned")
    ranking = ranked(fake(0, BASE_READS, "base"), trained, stopped)
    by_number = {trial.number: trial for trial in ranking}
    assert against_base(by_number[0], ranking, samples) is None
    assert against_base(by_number[1], ranking, samples) is not None
    assert against_base(by_number[2], ranking, samples) is None
    for other in (fake(0, BASE_READS, "base", "diverged"), fake(0, BASE_READS)):
        ranking = ranked(other, trained)
        assert against_base(ranking[0], ranking, samples) is None


@pytest.mark.parametrize("fields", [{"epoch": 1}, {"works": 1}], ids=["of an earlier epoch", "of one work"])
def test_there_is_no_telling_from_samples_that_do_not_tell(fields: dict[str, int]) -> None:
    assert against(BETTER, **fields) is None
    ranking = ranked(fake(0, BASE_READS, "base"), fake(1, BETTER))
    text = verdict(ranking[0], ranking, read({0: BASE_READS, 1: BETTER}, **fields))
    assert "cannot be tested against the base (trial 0)" in text


def said(errors: Mapping[int, Sequence[int]], number: int, base: int | None = 0, base_state: str = "completed") -> str:
    """The verdict on a trial of a study whose base is another."""
    trials = [
        fake(one, its, *(("base", base_state) if one == base else ("", "completed"))) for one, its in errors.items()
    ]
    ranking = ranked(*trials)
    return verdict(next(trial for trial in ranking if trial.number == number), ranking, read(errors))


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (BETTER, r"is higher by (\d+\.\d) to (\d+\.\d) points .*: trial 1 is better than the base, by more than"),
        (WORSE, r"is lower by (\d+\.\d) to (\d+\.\d) points .*: trial 1 is worse than the base, by more than"),
        (LIKE, r"is between (\d+\.\d) points lower and (\d+\.\d) points higher .*: these staves do not show which"),
    ],
)
def test_the_words_say_which_of_the_two_errs_less(errors: Sequence[int], words: str) -> None:
    """No number has a sign: which way round it is meant is in the words."""
    text = said({0: BASE_READS, 1: errors}, 1)
    found = re.search(rf"That of the base \(trial 0\), 44\.5 %, {words}", text)
    assert found is not None
    compared = against(errors)
    assert compared is not None
    expected = (compared.high, -compared.low) if errors is LIKE else sorted([abs(compared.low), abs(compared.high)])
    assert [float(points) for points in found.groups()] == pytest.approx([100 * end for end in expected], abs=0.051)
    assert text.endswith("Each was trained with one seed, so what another seed would give is open.")
    assert not re.search(r"[-+]\d", text)


def test_the_rival_is_the_base_and_not_the_next_best() -> None:
    text = said({0: BASE_READS, 1: BETTER, 2: LIKE, 3: WORSE}, 1)
    assert text.startswith("Trial 1 is the best of the 4 trials")
    assert "That of the base (trial 0)" in text
    assert "trial 2" not in text
    assert text.endswith("The best of 4 was chosen on these very staves, which flatters it a little.")
    assert "chosen" not in said({0: BASE_READS, 1: BETTER, 2: LIKE, 3: WORSE}, 3)


def test_a_base_that_nothing_beats_is_said_to_be_that() -> None:
    text = said({0: BASE_READS, 1: WORSE, 2: [errors + 1 for errors in WORSE]}, 0)
    assert "It is the base, and nothing that was trained as far beat it. That of the next best (trial 1)" in text
    assert "is higher by" in text
    assert "trial 0 is better than the next best" in text


def test_a_base_that_was_beaten_is_compared_with_the_best() -> None:
    text = said({0: BASE_READS, 1: LIKE, 2: BETTER}, 0)
    assert "It is the base. That of the best (trial 2)" in text
    assert "is lower by" in text
    assert "trial 0 is worse than the best" in text


def test_a_base_that_is_alone_beat_nobody() -> None:
    text = said({0: BASE_READS}, 0)
    assert text.startswith("Trial 0 is the only trial")
    assert text.endswith("no other trial was trained as far: nothing has been shown to beat it.")


@pytest.mark.parametrize("state", ["failed", "diverged", "pruned"])
def test_without_a_base_of_equal_effort_the_next_best_is_the_rival(state: str) -> None:
    text = said({0: BASE_READS, 1: LIKE, 2: BETTER}, 2, base_state=state)
    assert f"The base (trial 0) was not trained as far ({state}, epochs: 2), so there is no verdict against it." in text
    assert "That of the next best (trial 1)" in text
    assert "trial 2 is better than the next best" in text


def test_a_study_without_a_base_says_so() -> None:
    text = said({0: BASE_READS, 1: BETTER}, 1, base=None)
    assert "no trial of the base" in text
    assert "trial 1 is better than the next best" in text
    assert said({0: BASE_READS}, 0, base=None).endswith("no trial of the base, so it gives no verdict against it.")


def test_what_was_stopped_early_is_not_compared() -> None:
    ranking = ranked(fake(0, BASE_READS, "base"), fake(1, BETTER, state="pruned"))
    text = verdict(ranking[1], ranking, read({0: BASE_READS, 1: BETTER}))
    assert text == "Trial 1 has no rank (pruned, epochs: 2). Its symbol error rate is 32.0 %."


def test_a_difference_that_is_not_zero_does_not_look_like_it() -> None:
    ranking = ranked(fake(0, BASE_READS, "base"), fake(1, BETTER))
    samples = read({0: BASE_READS, 1: [errors - 1 for errors in BASE_READS]})
    table = samples.table()
    long = table.set_column(
        table.schema.get_field_index("reference_length"), SAMPLES.field("reference_length"), [[10_000] * (2 * WORKS)]
    )
    assert "is higher by 0.01 to 0.01 points" in verdict(ranking[0], ranking, LoadedSamples(long))


def test_the_numbers_are_plain() -> None:
    compared = against(BETTER)
    assert compared is not None
    assert [type(value) for value in dataclasses.asdict(compared).values()] == [float, float, float, str]


ADOPTED = Decision(
    candidate=1,
    base=0,
    verdict="adopt",
    difference=-0.042,
    low=-0.063,
    high=-0.021,
    rounds=4,
    needed="",
    seeds=4,
    base_seeds=5,
    ser=0.2,
    base_ser=0.242,
    base_diverged=0,
    contenders=7,
    seed_spread=0.0123,
    works_error=0.004,
)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {},
            "Adopt trial 1: it is better than the base (trial 0). Its SER is 4.2 points lower on average over 4 new "
            "seeds (base: 5); the 95 % interval runs from 2.1 to 6.3 lower.",
        ),
        (
            {"verdict": "reject", "difference": 0.03, "low": 0.01, "high": 0.05, "seeds": 1},
            "Reject trial 1: it is worse than the base (trial 0). Its SER is 3.0 points higher over 1 new seed "
            "(base: 5); the 95 % interval runs from 1.0 to 5.0 higher.",
        ),
        (
            {"verdict": "reject", "difference": -0.002, "low": -0.006, "high": 0.002},
            "Reject trial 1: it gains nothing worth having over the base (trial 0). Its SER is 0.2 points lower on "
            "average over 4 new seeds (base: 5); the 95 % interval runs from 0.6 lower to 0.2 higher.",
        ),
        (
            {"verdict": "undecided", "difference": 0.001, "low": -0.02, "high": 0.022, "needed": "wait"},
            "Undecided: trial 1 may be better or worse than the base (trial 0). Its SER is 0.1 points higher on "
            "average over 4 new seeds (base: 5), but the 95 % interval runs from 2.0 lower to 2.2 higher. To decide, "
            "wait.",
        ),
        (
            {"verdict": "undecided", "base_seeds": 3, "base_diverged": 2, "needed": "wait"},
            "Undecided: trial 1 cannot be judged against the base (trial 0) yet. Its SER is 4.2 points lower on "
            "average over 4 new seeds (base: 3, and 2 that diverged); the 95 % interval runs from 2.1 to 6.3 lower. To "
            "decide, wait.",
        ),
        (
            {"verdict": "undecided", "difference": math.nan, "low": math.nan, "high": math.nan, "needed": "wait"},
            "Undecided: trial 1 cannot be judged against the base (trial 0) yet. To decide, wait.",
        ),
    ],
)
def test_a_decision_in_words(fields: dict[str, object], text: str) -> None:
    assert decision_text(dataclasses.replace(ADOPTED, **fields)) == text  # type: ignore[arg-type]


def test_the_decision_comes_first_and_one_seed_is_not_told_beside_it() -> None:
    ranking = ranked(fake(0, BASE_READS, "base"), fake(1, BETTER), fake(2, LIKE))
    samples = read({0: BASE_READS, 1: BETTER, 2: LIKE})
    by_number = {trial.number: trial for trial in ranking}
    text = verdict(by_number[1], ranking, samples, [ADOPTED])
    assert text.startswith(f"{decision_text(ADOPTED)} In the search")
    assert "In the search, trial 1 was the best of the 3 trials" in text
    assert "its mean over 4 new seeds is 20.0 %." in text
    assert "one seed" not in text
    assert "**" not in text
    of_base = verdict(by_number[0], ranking, samples, [ADOPTED])
    assert of_base.startswith(decision_text(ADOPTED))
    assert "its mean over 5 seeds is 24.2 %" in of_base
    assert "worth changing to" not in of_base
    of_another = verdict(by_number[2], ranking, samples, [ADOPTED])
    assert of_another.startswith(decision_text(ADOPTED))
    assert of_another.endswith(verdict(by_number[2], ranking, samples))


def test_how_it_was_decided_is_said_apart_from_the_verdict() -> None:
    how = how_decided([ADOPTED])
    assert "1.2 points (standard deviation)" in how
    assert "the choice of pieces, for picking the best of 7 trials," in how
    assert how.endswith("The run that made a trial look best is not counted.")
    assert how_decided([dataclasses.replace(ADOPTED, difference=math.nan)]) == how_decided([]) == ""


def test_a_line_has_room_for_the_first_sentence() -> None:
    assert first_sentence(decision_text(ADOPTED)) == "Adopt trial 1: it is better than the base (trial 0)."
    assert first_sentence("One.") == "One."
    assert first_sentence("") == ""


REJECTED = dataclasses.replace(ADOPTED, verdict="reject", difference=0.03, low=0.01, high=0.05, ser=0.272)
OTHER = dataclasses.replace(ADOPTED, candidate=2, ser=0.21)
OPEN = dataclasses.replace(OTHER, verdict="undecided", difference=-0.01, low=-0.03, high=0.01)


def test_all_decisions_are_told_and_none_that_was_rejected_is_called_the_best() -> None:
    ranking = ranked(fake(0, BASE_READS, "base"), fake(1, BETTER), fake(2, LIKE))
    samples = read({0: BASE_READS, 1: BETTER, 2: LIKE})
    by_number = {trial.number: trial for trial in ranking}
    both = verdict(by_number[2], ranking, samples, [REJECTED, OTHER])
    assert both.startswith(f"{decision_text(REJECTED)} {decision_text(OTHER)} ")
    assert "Trial 1 is" not in both
    kept = verdict(by_number[0], ranking, samples, [REJECTED])
    assert "nothing that was trained again is worth changing to" in kept


@pytest.mark.parametrize(
    ("decisions", "number"),
    [
        ([], 1),
        ([ADOPTED], 1),
        ([REJECTED], 0),
        ([REJECTED, OTHER], 2),
        ([REJECTED, OPEN], 2),
        ([dataclasses.replace(REJECTED, verdict="undecided"), OPEN], 1),
        ([dataclasses.replace(REJECTED, verdict="undecided"), OTHER], 2),
        ([ADOPTED, dataclasses.replace(OTHER, ser=0.19)], 2),
        ([REJECTED, dataclasses.replace(REJECTED, candidate=2)], 0),
        ([dataclasses.replace(REJECTED, candidate=2)], 1),
    ],
)
def test_the_trial_that_a_study_ends_with(decisions: list[Decision], number: int) -> None:
    """Of three trials of which 1 is the best in the search, then 2, then the base."""
    ranking = ranked(fake(0, BASE_READS, "base"), fake(1, BETTER), fake(2, LIKE))
    assert [trial.number for trial in ranking] == [1, 2, 0]
    assert winner(ranking, decisions).number == number


def test_a_study_without_a_finished_trial_ends_with_none() -> None:
    ranking = ranked(fake(0, BASE_READS, "base", "failed"))
    assert winner_if_any(ranking, []) is None
    with pytest.raises(StudyError, match="1 failed"):
        winner(ranking, [])


def test_one_seed_adopts_nothing() -> None:
    text = said({0: BASE_READS, 1: BETTER}, 1)
    assert "one seed, so what another seed would give is open" in text
    assert "dopt" not in text
