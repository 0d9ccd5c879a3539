import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from results.fidelity import Fidelity, _warning, fidelity, rung_epochs
from results.ranking import rank
from results.replay import Replay
from results.study import StudyRecord
from results.tables import StandingEpochs, epochs_table, trials_table
from tests.studies import FakeTrial, events_of, study_record

EPOCHS = 8


def study(name: str = "asha", grace: int = 2, reduction: int = 2) -> StudyRecord:
    scheduler = {"name": name, "grace_epochs": grace, "reduction_factor": reduction}
    return dataclasses.replace(study_record(), config={"scheduler": scheduler}, max_epochs=EPOCHS)


def measured(record: StudyRecord, *trials: FakeTrial) -> Fidelity:
    standing = StandingEpochs(Replay(event for trial in trials for event in events_of(trial)))
    return fidelity(record, rank(trials_table(standing, "demo", [], {})), epochs_table(standing, "demo"))


def curves(early: Sequence[float], final: Sequence[float]) -> list[FakeTrial]:
    """Trials with this SER up to the sixth epoch, and that one at the end."""
    return [FakeTrial(n, (*[a] * 6, b, b)) for n, (a, b) in enumerate(zip(early, final, strict=True))]


FINAL = [0.10, 0.12, 0.14, 0.16, 0.18, 0.20, 0.22, 0.24, 0.26]
SAME, REVERSED = [ser + 0.3 for ser in FINAL], [0.6 - ser for ser in FINAL]


def test_the_rungs_are_those_of_the_search() -> None:
    from search.config import SchedulerConfig
    from search.rungs import halving_rungs

    for grace, reduction in ((1, 2), (2, 3), (4, 2), (9, 2)):
        config = SchedulerConfig(name="asha", grace_epochs=grace, reduction_factor=reduction)
        assert rung_epochs(study("asha", grace, reduction)) == halving_rungs(config, EPOCHS)
    assert rung_epochs(study("none")) == rung_epochs(study("pbt")) == []


def test_an_order_that_stays_is_trusted() -> None:
    found = measured(study(), *curves(SAME, FINAL))
    assert [rung.epoch for rung in found.rungs] == [2, 4]
    assert found.compared
    assert found.warning == ""
    for rung in found.rungs:
        assert (rung.trials, rung.best, rung.lost) == (9, 3, 0)
        assert rung.tau == rung.high == pytest.approx(1)
        assert rung.rho == pytest.approx(1)


def test_an_order_that_turns_round_is_warned_of_with_a_way_out() -> None:
    found = measured(study(), *curves(REVERSED, FINAL))
    assert [(rung.tau, rung.lost) for rung in found.rungs] == [(pytest.approx(-1), 3)] * 2
    assert "after epoch 4" in found.warning
    assert "3 of the 3" in found.warning
    assert "scheduler=none" in found.warning  # eight epochs are all there are
    assert "scheduler.adapt=true" in found.warning
    early = measured(study(grace=2, reduction=3), *curves(REVERSED, FINAL))
    assert "scheduler.grace_epochs=6" not in early.warning  # rungs at 2 and 6, of which 6 misleads as well
    assert "scheduler.adapt" not in measured(study("hyperband"), *curves(REVERSED, FINAL)).warning


def test_one_that_is_lost_and_an_order_that_is_nearly_right_are_no_warning() -> None:
    lost_one = [ser + 0.3 for ser in FINAL]
    lost_one[2] = 0.6  # the third of nine, after the first rung the last
    found = measured(study(), *curves(lost_one, FINAL))
    assert [(rung.lost, rung.best) for rung in found.rungs] == [(1, 3)] * 2
    assert found.warning == ""


def test_many_lost_though_the_order_is_partly_right_are_told_apart() -> None:
    lost = [ser + 0.3 for ser in FINAL]
    lost[1], lost[2] = 0.60, 0.61
    [first, _] = measured(study(), *curves(lost, FINAL)).rungs
    assert first.lost == 2
    shaky = dataclasses.replace(first, tau=0.6, low=0.1, high=0.75)
    assert shaky.misleads
    assert not shaky.turned
    assert not dataclasses.replace(shaky, high=0.85).misleads
    assert not dataclasses.replace(shaky, lost=1).misleads
    [said, turned] = (_warning([one], "none", 2, EPOCHS) for one in (shaky, dataclasses.replace(shaky, high=0.4)))
    assert said.startswith("Of the 3 finally best, 2 would have been stopped after epoch 2, though the order")
    assert turned.startswith("The order after epoch 2 is not the one at the end (tau 0.60")


def test_the_correlation_is_kendalls_tau_b_with_its_ties() -> None:
    early = [0.5, 0.5, 0.4, 0.4, 0.3, 0.6, 0.7]
    final = [0.20, 0.21, 0.22, 0.18, 0.17, 0.23, 0.23]
    pairs = [
        (a, b) for n, a in enumerate(zip(early, final, strict=True)) for b in zip(early[:n], final[:n], strict=True)
    ]
    signs = [(np.sign(a[0] - b[0]), np.sign(a[1] - b[1])) for a, b in pairs]
    untied = [sum(x != 0 for x, _ in signs), sum(y != 0 for _, y in signs)]
    tau = sum(x * y for x, y in signs) / np.sqrt(untied[0] * untied[1])
    rung = measured(study(), *curves(early, final)).rungs[0]
    assert rung.tau == pytest.approx(tau)
    assert rung.low < tau < rung.high


def test_noise_gives_an_interval_that_holds_zero() -> None:
    rng = np.random.default_rng(5)
    rung = measured(study(), *curves(rng.uniform(0.3, 0.6, 20).tolist(), rng.uniform(0.1, 0.3, 20).tolist())).rungs[0]
    assert rung.low < 0 < rung.high


def test_too_few_trials_cannot_tell() -> None:
    found = measured(study(), *curves(REVERSED[:4], FINAL[:4]))
    assert [(rung.trials, np.isnan(rung.tau), rung.best) for rung in found.rungs] == [(4, True, 0)] * 2
    assert found.warning == ""


def test_trials_that_were_stopped_or_repeat_another_do_not_count() -> None:
    stopped = FakeTrial(20, (0.1, 0.1), "pruned")
    again = FakeTrial(21, tuple([0.01] * EPOCHS), repeats=0)
    found = measured(study(), *curves(SAME, FINAL), stopped, again)
    assert found.stopped == 1
    assert [(rung.trials, rung.tau) for rung in found.rungs] == [(9, pytest.approx(1))] * 2


def test_without_a_scheduler_it_says_what_could_have_been_and_warns_of_nothing() -> None:
    found = measured(study("none"), *curves(REVERSED, FINAL))
    assert [rung.epoch for rung in found.rungs] == [1, 2, 4]
    assert not found.compared
    assert found.rungs[0].lost == 3
    assert found.warning == ""


def test_equal_sers_tell_nothing() -> None:
    rung = measured(study(), *curves([0.5] * 9, FINAL)).rungs[0]
    assert np.isnan(rung.tau)
    assert np.isnan(rung.rho)
    assert rung.lost == 0
