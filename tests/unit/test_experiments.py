"""The runs of the training log as presets: each composes into exactly what the log says of it."""

from __future__ import annotations

import functools

import pytest

from omr_model.config import TrainingConfig, replace_fields
from omr_model.presets import PRESETS
from results.log_format import parse_log
from results.log_records import LogRun
from results.study import DEFAULT_LOG
from search.compose import choices, compose
from search.config import SearchConfig
from search.space import SearchSpace

SIZES = {"reduced": 70, "full": 260}
TABLE = """
run dropout weight_decay depth   lr     epochs  alpha/beta  rhythms
77  0.1     0.01         6/6     1e-4   15      0.1/0.9     260
76  0.1     0.01         4/4     1e-4   15      0.1/0.9     260
75  0.1     0.01         4/4     1e-4   15      0.1/0.9     260
74  0.1     0.01         4/4     1e-4   15      0.2/0.8     260
71  0.1     0.001        4/4     1e-4   15      0.1/1.0     260
70  0.1     0.01         4/4     1e-4   25      0.1/1.0     260
63  0.1     0.01         4/4     1e-4   25      0.1/0.9     70
57  0.8     0.01         4/4     1e-4   30      0.1/0.9     70
56  0.1     0.01         4/4     1e-4   30      0.1/0.9     70
55  0.2     0.01         4/4     1e-4   30      0.1/0.9     70
51  0       0.01         4/4     1e-4   50      0.1/0.9     70
50  0       0.01         4/4     1e-4   50      0.1/0.9     70
3   0       0.01         4/4     1e-4   50      0.1/0.9     70
1   0       0.01         4/4     1e-3   40      0.4/0.6     260
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()[1:]]
BEYOND_THE_TABLE = {
    "50": {"model.backbone.family": "inception_resnet_v2"},
    "70": {"loss.focal_gamma": 2.0, "loss.focal_alpha": 0.25, "loss.focal_branches": "[lift]"},
    "71": {"loss.focal_gamma": 2.0, "loss.focal_alpha": 0.25, "loss.focal_branches": "[lift]"},
    "74": {"loss.token_weights.accidental": 10.0},
}


@functools.cache
def composed(experiment: str) -> SearchConfig:
    """A preset with the space of dropout."""
    return compose([f"experiment={experiment}", "space=dropout"])


@functools.cache
def runs_of_the_log() -> dict[str, LogRun]:
    entries = parse_log(DEFAULT_LOG.read_text(encoding="utf-8")).entries
    return {str(entry.number): entry for entry in entries if isinstance(entry, LogRun)}


def test_every_run_whose_settings_are_known_is_a_preset() -> None:
    assert set(choices("experiment")) == {f"run_{row[0]}" for row in ROWS}
    known = {number for number, run in runs_of_the_log().items() if "optimizer.learning_rate" in run.settings}
    assert known == {row[0] for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"run_{row[0]}")
def test_a_preset_is_its_row_of_the_table(row: list[str]) -> None:
    number, dropout, weight_decay, depth, rate, epochs, mix, rhythms = row
    config = composed(f"run_{number}")
    model, loss = config.model, config.loss
    assert (model.backbone.drop_rate, model.backbone.drop_path_rate) == (float(dropout), float(dropout))
    assert config.optimizer.weight_decay == float(weight_decay)
    assert f"{model.encoder.depth}/{model.decoder.depth}" == depth
    assert config.optimizer.learning_rate == float(rate)
    assert (config.train.epochs, config.train.batch_size) == (int(epochs), 16)
    assert [loss.alpha, loss.beta] == [float(one) for one in mix.split("/")]
    assert SIZES[model.vocabulary] == int(rhythms)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"run_{row[0]}")
def test_a_preset_moves_nothing_that_the_log_does_not_name(row: list[str]) -> None:
    config = composed(f"run_{row[0]}").training()
    run = runs_of_the_log()[row[0]]
    assert replace_fields(config, run.settings) == config
    for target, value in BEYOND_THE_TABLE.get(row[0], {}).items():
        assert run.settings[target] == value
    assert moved(config) - set(run.settings) <= {"model.backbone.layers", "model.backbone.channels"}
    mixed = int(row[0]) >= 63
    assert (config.train.mix.lengths, config.train.mix.negatives) == ((2, 0.025) if mixed else (1, None))


def moved(config: TrainingConfig) -> set[str]:
    """The leaves in which a training differs from the paper's preset."""
    from datasets.command_line import flat_fields

    paper, here = flat_fields(PRESETS["paper"]), flat_fields(config)
    return {name for name in here if here[name] != paper[name]}


def test_every_preset_trains_as_the_base_of_a_search() -> None:
    for name in choices("experiment"):
        config = composed(name)
        assert SearchSpace(config.space, config.training()).base_values is not None
