import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from results.importance import Cell, Importance, importance
from results.journal import Parameter
from results.ranking import rank
from results.replay import Replay
from results.schema import ERROR_CLASSES
from results.study import StudyRecord, from_json, to_json
from results.tables import StandingEpochs, epochs_table, trials_table
from search.config import ParameterConfig, SpaceConfig
from tests.studies import FakeTrial, events_of, study_record

DROPOUT, RATE, SCHEDULE, ALPHA = "model.decoder.dropout", "optimizer.learning_rate", "optimizer.schedule", "loss.alpha"
SPACE = {
    "dropout": ParameterConfig(target=DROPOUT, low=0.0, high=0.6),
    "rate": ParameterConfig(target=RATE, low=1e-4, high=1e-2, log=True),
    "schedule": ParameterConfig(target=SCHEDULE, kind="categorical", choices=["cosine", "linear", "constant"]),
    "alpha": ParameterConfig(target=ALPHA, low=0.0, high=1.0, when={"schedule": "linear"}),
}
Setting = Mapping[str, Parameter]
Parts = Callable[[Setting], Mapping[str, float]]


def study(scheduler: str = "none", space: Mapping[str, ParameterConfig] = SPACE) -> StudyRecord:
    config: dict[str, Any] = {
        "space": dataclasses.asdict(SpaceConfig(parameters=dict(space))),
        "scheduler": {"name": scheduler, "grace_epochs": 1, "reduction_factor": 2},
    }
    roles = {one.target: one.role for one in space.values()}
    return from_json(to_json(dataclasses.replace(study_record(), roles=roles, config=config)))


def trials(count: int, parts: Parts, seed: int = 0, epochs: int = 2, **fields: Any) -> list[FakeTrial]:
    """Random settings; the parts of their SER are noise (0.3 points) and what `parts` adds to the classes it names."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        setting: dict[str, Parameter] = {
            DROPOUT: float(rng.uniform(0, 0.6)),
            RATE: float(10 ** rng.uniform(-4, -2)),
            SCHEDULE: str(rng.choice(["cosine", "linear", "constant"])),
        }
        setting[ALPHA] = float(rng.uniform()) if setting[SCHEDULE] == "linear" else None
        classes = {name: 0.02 + 0.003 * float(rng.normal()) for name in ERROR_CLASSES}
        for name, part in parts(setting).items():
            classes[name] += part
        branches = {f"ser_{name}": 0.2 + 0.01 * float(rng.normal()) for name in ("rhythm", "pitch", "lift")}
        more = {f"ser_class_{name}": part for name, part in classes.items()} | branches
        made.append(FakeTrial(number, (sum(classes.values()),) * epochs, params=setting, more=more, **fields))
    return made


def nothing(_: Setting) -> Mapping[str, float]:
    return {}


def table(record: StudyRecord, made: list[FakeTrial], resamples: int = 0) -> Importance:
    standing = StandingEpochs(Replay(event for trial in made for event in events_of(trial)))
    ranking = rank(trials_table(standing, "demo", record.parameters, {}))
    return importance(record, ranking, epochs_table(standing, "demo"), resamples=resamples)


def real(found: Importance) -> dict[tuple[str, str], Cell]:
    return {(knob.targets[0], cell.metric): cell for knob in found.knobs for cell in knob.cells if cell.real}


def test_it_finds_which_knob_moves_which_errors_and_nothing_else() -> None:
    def parts(setting: Setting) -> Mapping[str, float]:
        assert isinstance(setting[DROPOUT], float)
        return {"accidentals": 0.05 * setting[DROPOUT], "rhythm": 0.02 * (setting[SCHEDULE] == "constant")}

    found = table(study(), trials(40, parts), resamples=5)
    cells = real(found)
    assert {key for key in cells if key[1] != "ser"} == {
        (DROPOUT, "ser_class_accidentals"),
        (SCHEDULE, "ser_class_rhythm"),
    }
    dropout = cells[DROPOUT, "ser_class_accidentals"]
    assert (dropout.best, dropout.worst) == ("0 to 0.2", "0.4 to 0.6")
    assert dropout.difference_low < 0.02 < dropout.difference_high  # 0.05 x the 0.4 between the thirds' middles
    assert dropout.share > 0.5
    assert dropout.share_low <= dropout.share <= dropout.share_high
    schedule = cells[SCHEDULE, "ser_class_rhythm"]
    assert schedule.worst == "constant"
    assert schedule.difference_low < 0.02 < schedule.difference_high


def test_a_best_value_in_the_middle_is_found() -> None:
    def parts(setting: Setting) -> Mapping[str, float]:
        assert isinstance(setting[RATE], float)
        return {"pitch": 0.02 * (np.log10(setting[RATE]) + 3) ** 2}

    cell = real(table(study(), trials(40, parts)))[RATE, "ser_class_pitch"]
    assert cell.best == "0.0004642 to 0.002154"


def test_noise_shows_nothing_in_nearly_all_studies() -> None:
    """One in twenty may; five or more of thirty would come of a rate of 5 % once in seventy times."""
    shown = sum(bool(real(table(study(), trials(15, nothing, seed)))) for seed in range(30))
    assert shown <= 4


def test_shares_add_up_and_only_what_is_real_has_an_interval() -> None:
    found = table(study(), trials(20, lambda setting: {"ties": 0.1 * (setting[SCHEDULE] == "linear")}), resamples=2)
    assert (SCHEDULE, "ser_class_ties") in real(found)
    for cells in zip(*(knob.cells for knob in found.knobs), strict=True):
        assert sum(cell.share for cell in cells) == pytest.approx(1)
        assert all(np.isnan(cell.share_low) != cell.real for cell in cells)


def test_a_conditional_parameter_is_told_on_the_trials_that_have_it() -> None:
    made = trials(40, nothing)
    found = table(study(), made)
    having = sum(trial.params[ALPHA] is not None for trial in made)
    assert {knob.targets[0]: knob.trials for knob in found.knobs} == {
        DROPOUT: 40,
        RATE: 40,
        SCHEDULE: 40,
        ALPHA: having,
    }


def test_a_parameter_that_never_varies_is_left_out() -> None:
    made = [dataclasses.replace(one, params={**one.params, DROPOUT: 0.1}) for one in trials(12, nothing)]
    assert DROPOUT not in {knob.targets[0] for knob in table(study(), made).knobs}


def test_trials_are_compared_at_the_first_rung_unless_enough_reached_the_end() -> None:
    stopped = trials(15, nothing, epochs=1, state="pruned")
    few = [dataclasses.replace(one, number=one.number + 15) for one in trials(12, nothing)]
    many = [dataclasses.replace(one, number=one.number + 15) for one in trials(20, nothing)]
    early = table(study("asha"), [*stopped, *few])
    assert (early.basis, early.epoch, early.trials) == ("early", 1, 27)
    assert early.when == "the first rung, where nobody had been stopped"
    chosen = table(study("asha"), [*stopped, *many])  # by how they had begun
    assert (chosen.basis, chosen.epoch, chosen.trials) == ("early", 1, 35)
    final = table(study("asha"), many)
    assert (final.basis, final.epoch, final.trials, final.when) == ("final", 2, 20, "the end")


def test_without_rungs_they_are_compared_at_the_end_if_enough_reached_it() -> None:
    few = trials(12, nothing)
    ended = table(study("none"), few)
    assert (ended.basis, ended.epoch, ended.when) == ("final", 2, "the end")
    on_the_way = [dataclasses.replace(one, state=None if one.number > 3 else one.state) for one in few]
    reached = table(study("none"), on_the_way)
    assert (reached.basis, reached.when) == ("early", "which nearly all trials reached")
    assert reached.trials == 12
    assert table(study("asha"), few[:9]).basis == ""


def test_the_setting_of_a_population_is_that_of_its_end() -> None:
    assert table(study("pbt"), trials(12, nothing)).basis == "final"


def test_repeats_do_not_count() -> None:
    again = [dataclasses.replace(one, number=one.number + 12, repeats=0) for one in trials(12, nothing)]
    assert table(study(), [*trials(12, nothing), *again]).trials == 12


def test_whole_numbers_are_told_in_thirds_and_a_range_may_begin_elsewhere() -> None:
    """The base lies outside the range, and there are more values than trials to tell each of them."""
    depth = {"depth": ParameterConfig(target="model.decoder.depth", kind="int", low=2, high=8)}
    made = [
        FakeTrial(n, (0.1 + 0.02 * d,), params={"model.decoder.depth": d}, origin="" if n else "base")
        for n, d in enumerate([1, *[2, 3, 4, 5, 6, 7, 8] * 2])
    ]
    cell = real(table(study(space=depth), made))["model.decoder.depth", "ser"]
    assert (cell.best, cell.worst) == ("2 to 4", "7 to 8")
