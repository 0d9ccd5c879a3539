import dataclasses
from typing import Any

import pytest

from results.journal import Parameter
from results.ranking import RankedTrial, rank
from results.replay import Replay
from results.report_sections import ranking_table, scientific, setting
from results.roles import FIXED, Effect, effects, with_role
from results.study import StudyRecord, from_json, to_json
from results.tables import StandingEpochs, trials_table
from search.config import ParameterConfig, SpaceConfig
from tests.studies import FakeTrial, events_of, study_record

RATE = "optimizer.learning_rate"
DROPOUT = "model.decoder.dropout"
CONFIG: dict[str, Any] = {
    "model": {"decoder": {"dropout": 0.0, "depth": 4}, "backbone": {"layers": [2, 3, 7]}},
    "optimizer": {"learning_rate": 1e-4},
    "loss": {"gamma": 10.0},
}


def study(**parameters: ParameterConfig) -> StudyRecord:
    """A study of these parameters, as it is read from its file."""
    roles = {
        target: one.role for one in parameters.values() if one.role != FIXED for target in one.targets
    }  # no target of these tests has two roles
    config = {**CONFIG, "space": dataclasses.asdict(SpaceConfig(parameters=parameters))}
    return from_json(to_json(dataclasses.replace(study_record(), roles=roles, config=config)))


def ranked(*trials: FakeTrial) -> list[RankedTrial]:
    replay = Replay(event for trial in trials for event in events_of(trial))
    return rank(trials_table(StandingEpochs(replay), "demo", [], {}))


def tried(target: str, *values: Parameter) -> list[RankedTrial]:
    """A trial for each value, the first of them the base; each is better than the one before."""
    return ranked(
        *(
            FakeTrial(number, (0.9, 0.8 - number / 100), params={target: value}, origin="" if number else "base")
            for number, value in enumerate(values)
        )
    )


def numbers(effect: Effect) -> dict[str, list[int]]:
    return {level.name: sorted(trial.number for trial in level.trials) for level in effect.levels}


def only(effects: list[Effect]) -> Effect:
    assert len(effects) == 1
    return effects[0]


def test_a_range_is_told_in_thirds() -> None:
    space = study(dropout=ParameterConfig(target=DROPOUT, low=0.0, high=0.6))
    found = only(effects(space, tried(DROPOUT, 0.0, 0.1, 0.2, 0.21, 0.5, 0.6)))
    assert found.targets == (DROPOUT,)
    assert numbers(found) == {"0 to 0.2": [0, 1, 2], "0.2 to 0.4": [3], "0.4 to 0.6": [4, 5]}


def test_the_thirds_of_a_logarithmic_range_are_those_of_the_logarithm() -> None:
    space = study(rate=ParameterConfig(target=RATE, low=1e-5, high=1e-2, log=True))
    found = only(effects(space, tried(RATE, 1e-5, 9e-5, 1e-4, 2e-4, 2e-3, 1e-2)))
    assert numbers(found) == {"1e-05 to 0.0001": [0, 1, 2], "0.0001 to 0.001": [3], "0.001 to 0.01": [4, 5]}


def test_a_third_that_nobody_tried_is_there() -> None:
    space = study(dropout=ParameterConfig(target=DROPOUT, low=0.0, high=0.6))
    assert numbers(only(effects(space, tried(DROPOUT, 0.5)))) == {"0 to 0.2": [], "0.2 to 0.4": [], "0.4 to 0.6": [0]}


def test_few_whole_numbers_are_told_one_by_one_and_many_in_thirds() -> None:
    target = "model.decoder.depth"
    few = study(depth=ParameterConfig(target=target, kind="int", low=2, high=16, step=2))
    assert numbers(only(effects(few, tried(target, 4, 16)))) == {
        "2": [], "4": [0], "6": [], "8": [], "10": [], "12": [], "14": [], "16": [1],
    }  # fmt: skip
    many = study(depth=ParameterConfig(target=target, kind="int", low=1, high=9))
    found = only(effects(many, tried(target, *range(1, 10))))
    assert numbers(found) == {"1 to 3": [0, 1, 2], "4 to 6": [3, 4, 5], "7 to 9": [6, 7, 8]}


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("high", [10, 27, 64, 100, 1000])
def test_a_whole_number_lies_in_the_third_that_names_it(log: bool, high: int) -> None:
    target = "train.batch_size"
    space = study(batch=ParameterConfig(target=target, kind="int", low=1, high=high, log=log))
    for level in only(effects(space, tried(target, *range(1, high + 1)))).levels:
        low, end = map(int, level.name.split(" to "))
        assert sorted(trial.params[target] for trial in level.trials) == list(range(low, end + 1))


def test_a_choice_that_nobody_tried_is_there() -> None:
    target = "model.backbone.layers"
    space = study(layers=ParameterConfig(target=target, kind="categorical", choices=[[1, 1, 1], [2, 3, 7]]))
    assert numbers(only(effects(space, tried(target, "[2, 3, 7]", "[2, 3, 7]")))) == {
        "[1, 1, 1]": [],
        "[2, 3, 7]": [0, 1],
    }
    target = "optimizer.decay_norms"
    space = study(norms=ParameterConfig(target=target, kind="categorical", choices=[False, True]))
    assert numbers(only(effects(space, tried(target, True, False)))) == {"false": [1], "true": [0]}


def test_what_a_switch_sets_is_a_value_beside_the_range() -> None:
    target = "loss.focal_gamma"
    space = study(
        focal=ParameterConfig(options={"off": {target: 0.0}, "on": {}}),
        gamma=ParameterConfig(target=target, low=0.5, high=5.0, when={"focal": "on"}),
    )
    found = only(effects(space, tried(target, 0.0, 1.0, 5.0)))
    assert numbers(found) == {"0": [0], "0.5 to 2": [1], "2 to 3.5": [], "3.5 to 5": [2]}


def test_a_value_outside_the_range_and_a_condition_that_does_not_hold_have_their_own_rows() -> None:
    space = study(dropout=ParameterConfig(target=DROPOUT, low=0.1, high=0.4, when={}))
    found = only(effects(space, tried(DROPOUT, 0.9, None, 0.15, None)))
    assert numbers(found) == {"0.9": [0], "0.1 to 0.2": [2], "0.2 to 0.3": [], "0.3 to 0.4": [], "not used": [1, 3]}


def test_every_trial_has_one_value_of_a_parameter_that_the_space_does_not_describe() -> None:
    record = dataclasses.replace(study_record(), roles={DROPOUT: "scientific"})
    assert numbers(only(effects(record, tried(DROPOUT, 0.2, 0.1, 0.2)))) == {"0.1": [1], "0.2": [0, 2]}


def test_only_trials_of_equal_effort_count_for_the_rate() -> None:
    target = "optimizer.schedule"
    space = study(schedule=ParameterConfig(target=target, kind="categorical", choices=["cosine", "linear", "constant"]))
    ranking = ranked(
        FakeTrial(0, (0.9, 0.5), params={target: "cosine"}, origin="base"),
        FakeTrial(1, (0.9, 0.4), params={target: "cosine"}),
        FakeTrial(2, (0.1,), "pruned", params={target: "cosine"}),
        FakeTrial(3, (0.01,), "pruned", params={target: "linear"}),
        FakeTrial(4, (0.02,), "completed", params={target: "linear"}),
        FakeTrial(5, (), "failed", params={target: "linear"}),
        FakeTrial(6, (0.03,), "pruned", params={target: "linear"}),
    )
    assert [[trial.number for trial in level.comparable] for level in only(effects(space, ranking)).levels] == [
        [1, 0],
        [],
        [],
    ]
    text = scientific(space, ranking)
    assert "| cosine (base) | 3 | 2 | 40.0 % |  | 1 |\n" in text
    assert "| linear | 4 | 0 | stopped early: 2, completed with fewer epochs: 1, failed: 1 |  |  |\n" in text
    assert text.endswith("| constant | 0 | 0 | not tried |  |  |")
    assert "No nuisance parameter was searched over." in text


def test_leaves_that_always_move_together_are_one_parameter() -> None:
    first, second = "model.backbone.drop_rate", "model.backbone.drop_path_rate"
    space = study(drop=ParameterConfig(target=first, also=[second], low=0.0, high=0.6))

    def found(*pairs: tuple[float, float]) -> list[tuple[str, ...]]:
        trials = [
            FakeTrial(number, (0.5,), params={first: one, second: two}) for number, (one, two) in enumerate(pairs)
        ]
        return [effect.targets for effect in effects(space, ranked(*trials))]

    assert found((0.1, 0.1), (0.3, 0.3)) == [(first, second)]
    assert found((0.1, 0.1), (0.3, 0.0)) == [(first,), (second,)]  # a base outside the space


def test_parameters_that_happen_to_agree_stay_apart() -> None:
    space = study(
        first=ParameterConfig(target="loss.alpha", low=0.0, high=1.0),
        second=ParameterConfig(target="loss.beta", low=0.0, high=1.0),
    )
    ranking = ranked(FakeTrial(0, (0.5,), params={"loss.alpha": 0.1, "loss.beta": 0.1}))
    assert [effect.targets for effect in effects(space, ranking)] == [("loss.alpha",), ("loss.beta",)]


MIXED = {
    "rate": ParameterConfig(target=RATE, low=1e-5, high=1e-2, log=True, role="nuisance"),
    "dropout": ParameterConfig(target=DROPOUT, low=0.0, high=0.6),
    "gamma": ParameterConfig(target="loss.gamma", low=3.0, high=30.0, role="fixed"),
    "layers": ParameterConfig(
        target="model.backbone.layers", kind="categorical", choices=[[1, 1, 1], [2, 3, 7]], role="fixed"
    ),
}


def mixed() -> list[RankedTrial]:
    return ranked(
        FakeTrial(0, (0.9, 0.5), params={RATE: 1e-4, DROPOUT: 0.0}, origin="base"),
        FakeTrial(1, (0.9, 0.4), params={RATE: 3e-4, DROPOUT: 0.1}),
        FakeTrial(2, (0.9, 0.3), params={RATE: None, DROPOUT: 0.5}, origin="training log, run 56"),
        FakeTrial(3, (0.2,), "pruned", params={RATE: 5e-3, DROPOUT: 0.1}),
    )


def test_the_best_over_nuisance_parameters_names_their_setting() -> None:
    text = scientific(study(**MIXED), mixed())
    assert "### `model.decoder.dropout`" in text
    assert "| 0 to 0.2 (base) | 3 | 2 | 40.0 % |  | 1 | `optimizer.learning_rate` 0.0003 |" in text
    assert "| 0.2 to 0.4 | 0 | 0 | not tried |  |  |  |" in text
    assert "| 0.4 to 0.6 | 1 | 1 | 30.0 % |  | 2 |  |" in text
    assert "### `optimizer.learning_rate`" not in text
    assert "loss.gamma" not in text
    assert "No nuisance parameter" not in text


def test_without_a_scientific_parameter_there_is_nothing_to_tell() -> None:
    assert scientific(study(rate=MIXED["rate"]), mixed()) == ""


def test_the_setting_tells_roles_and_the_base() -> None:
    space, ranking = study(**MIXED), mixed()
    assert with_role(space, FIXED) == ["loss.gamma", "model.backbone.layers"]
    lines = setting(space, ranking[1], ranking).splitlines()
    assert lines[0] == "| parameter | role | this trial | base (trial 0) |"
    assert lines[2:6] == [
        "| `model.decoder.dropout` | scientific | 0.1 | 0 |",
        "| `optimizer.learning_rate` | nuisance | 0.0003 | 0.0001 |",
        "| `loss.gamma` | fixed | 10 | 10 |",
        "| `model.backbone.layers` | fixed | [2, 3, 7] | [2, 3, 7] |",
    ]
    assert "they stay as the base has them" in lines[-1]
    assert "Not used" not in lines[-1]
    assert "| `optimizer.learning_rate` | nuisance | not used | 0.0001 |\n" in setting(space, ranking[0], ranking)
    assert '"Not used": the trial' in setting(space, ranking[0], ranking)


def test_without_a_trial_of_the_base_its_values_are_the_configurations() -> None:
    space = study(
        dropout=MIXED["dropout"], weight=ParameterConfig(target="train.mix.weights.oneills", high=2.0, low=0.1)
    )
    ranking = ranked(FakeTrial(1, (0.9,), params={DROPOUT: 0.1, "train.mix.weights.oneills": 2.0}))
    lines = setting(space, ranking[0], ranking).splitlines()
    assert lines[0].endswith("| base |")
    assert lines[2:] == [
        "| `model.decoder.dropout` | scientific | 0.1 | 0 |",
        "| `train.mix.weights.oneills` | scientific | 2 | not set |",
    ]


def test_the_ranking_marks_the_base_and_has_scientific_columns_first() -> None:
    lines = ranking_table(study(**MIXED), mixed()).splitlines()
    assert lines[0].endswith("| 95 % interval | `model.decoder.dropout` | `optimizer.learning_rate` |")
    assert lines[2] == "| 1 | 2 (training log, run 56) | completed | 2 | 30.0 % |  | 0.5 | not used |"
    assert lines[4] == "| 3 | 0 (base) | completed | 2 | 50.0 % |  | 0 | 0.0001 |"
    assert "not shown" not in "\n".join(lines)


def test_leaves_that_always_move_together_are_one_column() -> None:
    first, second = "model.backbone.drop_rate", "model.backbone.drop_path_rate"
    space = study(drop=ParameterConfig(target=first, also=[second], low=0.0, high=0.6), dropout=MIXED["dropout"])
    trials = [
        FakeTrial(number, (0.5,), params={first: x, second: x, DROPOUT: x}) for number, x in enumerate((0.1, 0.2))
    ]
    header = ranking_table(space, ranked(*trials)).splitlines()[0]
    assert header.endswith("| `model.backbone.drop_rate` and 1 alike | `model.decoder.dropout` |")


def wide(*trials: dict[int, float]) -> tuple[StudyRecord, list[RankedTrial]]:
    """Of a space with 45 parameters, every third of them a nuisance; a trial has 0 where nothing is said."""
    parameters = {
        f"p{place}": ParameterConfig(
            target=f"loss.p{place}", low=0.0, high=1.0, role="scientific" if place % 3 else "nuisance"
        )
        for place in range(45)
    }
    fakes = [
        FakeTrial(number, (0.9, 0.5), params={f"loss.p{place}": values.get(place, 0.0) for place in range(45)})
        for number, values in enumerate(trials)
    ]
    fakes.append(FakeTrial(99, (0.9,), "pruned", params={f"loss.p{place}": 0.5 for place in range(45)}))
    return study(**parameters), ranked(*fakes)


def test_the_ranking_shows_the_parameters_in_which_ranked_trials_differ() -> None:
    text = ranking_table(*wide({}, {3: 0.1, 44: 0.2}, {3: 0.1, 44: 0.3}))
    assert text.splitlines()[0].endswith("| 95 % interval | `loss.p44` | `loss.p3` |")
    assert "Parameters not shown: 43 that the ranked trials have in common." in text
    assert "`reports/trials.parquet`" in text


def test_the_ranking_shows_eight_of_them_at_most() -> None:
    text = ranking_table(*wide({}, dict.fromkeys(range(20), 0.5)))
    header = text.splitlines()[0]
    assert header.count("`loss.p") == 8
    assert header.endswith(
        "`loss.p1` | `loss.p2` | `loss.p4` | `loss.p5` | `loss.p7` | `loss.p8` | `loss.p10` | `loss.p11` |"
    )
    assert "12 more in which the ranked trials differ, and 25 that the ranked trials have in common." in text


def test_a_ranked_trial_alone_is_told_from_all_others() -> None:
    text = ranking_table(*wide({0: 0.5}))
    assert text.splitlines()[0].count("`loss.p") == 8
    assert "36 more in which the trials differ, and 1 that the trials have in common." in text


def test_a_cell_names_a_few_nuisance_parameters_and_counts_the_rest() -> None:
    text = scientific(*wide({0: 0.25}))
    cell = "`loss.p0` 0.25, `loss.p3` 0, `loss.p6` 0, `loss.p9` 0, 11 more |"
    assert cell in text
    assert text.count("### ") == 30
