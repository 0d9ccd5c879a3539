"""Command line to `SearchConfig`: what composes, what is refused, and in which words."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest

from datasets.errors import ConfigError, StudyError
from omr_model.config import TrainingConfig, replace_fields
from omr_model.presets import PRESETS, STAFF_OF_PRESET
from results.study import read_study, write_study
from search.compose import ALL, GROUPS, as_yaml, choices, compose, device_note, space_names
from search.config import SAMPLER_NAMES, SCHEDULER_NAMES
from search.corpus import preparation
from search.rules import RULES
from search.samplers import SAMPLERS
from search.space import SearchSpace
from tests.studies import FakeTrial, make_study

COMPOSED_ELSEWHERE = {"space", "model", "experiment", "sampler"}  # below, in test_experiments and in test_samplers


def settled(space: str, model: str) -> TrainingConfig:
    """A preset with what a space needs."""
    scored_in = "reduced" if space in ("vocabulary", ALL) else ""
    negatives = 0.0 if space in ("data_mix", ALL) else None
    return replace_fields(PRESETS[model], {"train.scored_in": scored_in, "train.mix.negatives": negatives})


@pytest.mark.parametrize("space", choices("space"))
def test_every_space_composes_and_has_every_model_in_it(space: str) -> None:
    config = compose([f"space={space}", "model=tiny"])
    assert config.training() == settled(space, "tiny")
    assert config.space.parameters
    for model in choices("model"):
        assert SearchSpace(config.space, settled(space, model)).base_values is not None


@pytest.mark.parametrize("model", choices("model"))
def test_every_model_composes_with_all_spaces(model: str) -> None:
    config = compose([f"space={ALL}", f"model={model}"])
    assert config.training() == settled(ALL, model)
    assert config.space == compose([f"space={ALL}", "model=tiny"]).space


@pytest.mark.parametrize("group", sorted(set(GROUPS) - COMPOSED_ELSEWHERE))
def test_every_choice_of_every_group_composes(group: str) -> None:
    for choice in choices(group):
        compose(["model=tiny", f"{group}={choice}"])


def test_without_a_gpu_the_tiny_model_and_the_quick_budget_are_chosen() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, so the paper's model is chosen")
    config = compose(["space=dropout"])
    assert config.model == PRESETS["tiny"].model
    assert config.staff().name == "short"
    assert config.budget == compose(["model=tiny", "budget=quick"]).budget
    assert device_note(["space=dropout"]) == (
        "no CUDA GPU: the tiny model on short staves (model=paper takes the paper's, for a GPU)"
    )
    assert device_note(["model=tiny"]) is None


def test_the_corpus_is_a_source_a_named_mixture_or_one_of_the_moment() -> None:
    assert compose(["model=tiny"]).data.name == "engraved"
    assert compose(["model=tiny", "data=log_run_63"]).data.name == "log_run_63"
    for word in ("data=cpms+engraved", "data.name=cpms+engraved"):
        config = compose(["model=tiny", word, "data.root=/tmp/it's a, b=c", "data.images=both", "data.limit=5"])
        assert (config.data.name, config.data.root, config.data.images) == ("cpms+engraved", "/tmp/it's a, b=c", "both")
        assert preparation(replace(config, data=replace(config.data, root="", images=""))).limit == 5


def test_a_search_over_the_share_of_negatives_begins_without_any() -> None:
    assert compose(["space=data_mix", "model=tiny"]).train.mix.negatives == 0.0
    assert compose(["space=data_mix", "model=tiny", "train.mix.negatives=0.1"]).train.mix.negatives == 0.1
    assert compose(["space=dropout", "model=tiny"]).train.mix.negatives is None


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_staves_of_its_size(preset: str) -> None:
    assert compose([f"model={preset}"]).staff().name == STAFF_OF_PRESET[preset]


@pytest.mark.parametrize("word", ["trial.gpus=0", "cluster.gpus=0", "train.device=cpu"])
def test_a_search_that_uses_no_gpu_takes_the_tiny_model(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert compose([]).model == PRESETS["paper"].model
    assert compose([word]).model == PRESETS["tiny"].model


def test_the_papers_model_comes_with_full_staves_and_the_full_budget() -> None:
    config = compose(["model=paper"])
    assert config.staff().name == "full"
    assert config.budget == compose(["model=paper", "budget=full"]).budget


def test_any_field_can_be_said_on_the_command_line() -> None:
    config = compose(
        [
            "model=tiny",
            "study=2024_05_01",
            "paths.studies=/tmp/it's a, b=c",
            "model.decoder.depth=3",
            "optimizer.beta1=0.8",
            "train.mix.weights.oneills1850=2",
            "space.parameters.decoder_dropout.role=nuisance",
            "space.parameters.decoder_dropout.high=0.3",
            "budget.hours=1.5",
        ]
    )
    assert (config.study, config.paths.studies) == ("2024_05_01", "/tmp/it's a, b=c")
    assert (config.model.decoder.depth, config.optimizer.beta1) == (3, 0.8)
    assert config.space.parameters["decoder_dropout"].high == 0.3
    assert config.train.mix.weights == {"oneills1850": 2.0}
    assert config.space.parameters["decoder_dropout"].role == "nuisance"
    assert config.budget.hours == 1.5


@pytest.mark.parametrize("words", ["tensorboard,mlflow", "[tensorboard,mlflow]", "tensorboard", ""])
def test_a_list_needs_no_brackets(words: str) -> None:
    trackers = compose(["model=tiny", f"trackers={words}"]).trackers
    assert trackers == [name for name in words.strip("[]").split(",") if name]


def test_the_lists_of_a_parameter_need_no_brackets() -> None:
    name = "space.parameters.decoder_dropout"
    config = compose(["model=tiny", f"{name}.also=model.decoder.attention_dropout"])
    assert config.space.parameters["decoder_dropout"].also == ["model.decoder.attention_dropout"]
    config = compose(["model=tiny", f"{name}.kind=categorical", f"{name}.choices=0.1,0.2"])
    assert config.space.parameters["decoder_dropout"].choices == [0.1, 0.2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["space=nosuch"], "unknown space 'nosuch'; choose all, backbone"),
        (["space=[dropout,nosuch]"], "unknown space 'nosuch'"),
        (["sampler=tp"], "did you mean tpe?"),
        (["sampler.name=tp"], "unknown sampler 'tp'; choose tpe, gp"),
        (["scheduler.name=asah"], "unknown scheduler 'asah'; choose asha"),
        (["train.epocs=3"], "train.epocs: no such field; there are train.epochs"),
        (["nosuch=3"], "nosuch: no such field; --help lists the fields"),
        (["budget.trails=3"], "budget.epochs, budget.hours, budget.gpu_hours (did you mean budget.trials?)"),
        (["spaces=dropout"], "spaces: no such field; --help lists the fields (did you mean space?)"),
        (["trackers=tensorbord"], "unknown trackers 'tensorbord'"),
        (["train.epochs=many"], "train.epochs: 'many' is not a whole number"),
        (["confirm.worthwhile=0,01"], "confirm.worthwhile: '0,01' is not a number; write 0.01"),
        (["train.epochs=0"], "`train.epochs` must be at least 1, but got 0"),
        (["model.backbone.drop_rate=1.2"], "`backbone.drop_rate` must be between 0 and 0.95, but got 1.2"),
        (["budget.trials=0"], "`budget.trials` must be at least 1"),
        (["trial.cpus=0"], "`trial.cpus` must be at least 1"),
        (["data.staff=huge"], "unknown data.staff 'huge'; choose auto, short"),
        (["data=cpm"], "unknown data 'cpm'; choose"),
        (["data=engraved+cpm"], "unknown data 'cpm'; choose"),
        (["data=engraved+engraved"], "data=engraved+engraved: engraved is named twice"),
        (["dropout"], "'dropout' is not of the form field=value or group=choice; did you mean space=dropout?"),
        (["nosuch"], "'nosuch' is not of the form field=value or group=choice; see --help"),
        (["++train.epochs=3"], "is not of the form"),
        (["space.parameters.decoder_dropout.low=0.9"], "`low` must be below `high`, but got 0.9 and 0.5"),
        (["space.parameters.decoder_dropout.target=model.nosuch"], "`target` model.nosuch is no field"),
        (["space.parameters.decoder_dropout.target=train.epochs"], "train.epochs must be the same for all trials"),
    ],
)
def test_what_is_not_allowed_is_said_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["model=tiny", *words])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_that_no_staves_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="no staves of that size"):
        compose(["model=tiny", "model.height=128"]).staff()


def test_the_spaces_of_a_command_line() -> None:
    assert space_names([]) == ["dropout"]
    assert space_names(["space=[depth,dropout,depth]"]) == ["depth", "dropout"]
    assert space_names(["space=all"]) == [name for name in choices("space") if name != ALL]


def test_later_words_win_over_fast_over_the_experiment_over_the_preset() -> None:
    config = compose(["experiment=run_77", "model=tiny", "fast=true", "train.compile=false", "loss.beta=0.3"])
    assert (config.model.encoder.depth, config.model.width) == (6, 256)
    assert (config.train.precision, config.train.compile, config.optimizer.fused) == ("mixed", False, "torch")
    assert (config.loss.alpha, config.loss.beta) == (0.1, 0.3)
    plain = compose(["model=paper", "fast=false"])
    assert (plain.train.precision, plain.train.compile, plain.optimizer.fused) == ("fp32", False, "none")


def test_a_run_as_base_is_its_experiment() -> None:
    assert compose(["base=run:56"]).training() == compose(["experiment=run_56"]).training()
    assert compose(["base=run:56"]).model.width == PRESETS["paper"].model.width
    assert compose(["base=run:56", "model=tiny"]).model.width == PRESETS["tiny"].model.width


@pytest.mark.parametrize("origin", ["experiment=run_56", "base=run:56"])
def test_the_papers_model_out_of_the_log_is_warned_of_where_there_is_no_gpu(
    origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    note = device_note([origin])
    assert note is not None
    assert note.startswith("no CUDA GPU: this is the paper's model on full staves")
    assert device_note([origin, "model=tiny"]) is None
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert device_note([origin]) is None


@pytest.mark.parametrize("limit", ["hours=2", "epochs=40", "gpu_hours=1.5"])
def test_another_limit_is_the_only_one_unless_trials_are_named_too(limit: str) -> None:
    assert compose(["model=tiny", f"budget.{limit}"]).budget.trials is None
    assert compose(["model=paper", f"budget.{limit}"]).budget.trials is None
    assert compose(["model=tiny", f"budget.{limit}", "budget.trials=3"]).budget.trials == 3
    assert compose(["model=tiny", f"budget.{limit}", "budget=quick"]).budget.trials == 8
    assert compose(["model=tiny", f"budget.{limit}", "scheduler=pbt"]).budget.trials == 8
    assert compose(["model=tiny", "budget.hours=null"]).budget.trials == 8


def test_a_study_as_base_brings_its_trials_setting_and_its_corpus(tmp_path: Path) -> None:
    training = replace_fields(PRESETS["tiny"], {"model.decoder.depth": 3})
    config = dataclasses.asdict(replace(compose(["model=tiny", "data.limit=80"]), **vars(training)))
    trials = [
        FakeTrial(0, (0.9, 0.5), params={"model.decoder.dropout": 0.3, "loss.focal_branches": "[lift, pitch]"}),
        FakeTrial(1, (0.9, 0.4), params={"model.decoder.dropout": 0.1, "loss.focal_branches": None}),
    ]
    make_study(tmp_path, trials, name="before", parameters=["model.decoder.dropout", "loss.focal_branches"])
    record = read_study(tmp_path / "before")
    write_study(tmp_path / "before", replace(record, config=config))
    where = f"paths.studies={tmp_path}"
    best = compose(["base=study:before", "space=depth", where, "loss.beta=0.4"])
    assert best.training() == replace_fields(training, {"model.decoder.dropout": 0.1, "loss.beta": 0.4})
    assert (best.data.limit, best.budget) == (80, compose(["model=tiny"]).budget)
    first = compose(["base=study:before/0", "space=depth", where])
    assert (first.model.decoder.dropout, first.loss.focal_branches) == (0.3, ("lift", "pitch"))
    with pytest.raises(StudyError, match="study=nosuch: no such study"):
        compose(["base=study:nosuch", where])
    with pytest.raises(StudyError, match="trial=7: no such trial; there are 0"):
        compose(["base=study:before/7", where])


def test_a_range_without_its_points_can_be_had_without_the_history() -> None:
    narrow = ["space=depth", "model=tiny", "space.parameters.encoder_depth.high=2"]
    config = compose(narrow)
    with pytest.raises(ConfigError, match=r"space point depth_4: 4 is outside .*; history=none leaves the points out"):
        SearchSpace(config.space, config.training())
    without = compose([*narrow, "history=none"])
    assert SearchSpace(without.space, without.training()).queued == 1


def test_an_unknown_beginning_is_refused() -> None:
    for words, message in (
        (["base=run:60"], "base=run:60: no such run with known settings; there are 1, 3, 50"),
        (["base=63"], "base=63: it is run:N"),
        (["base=study:mine", "model=paper"], "base=study:mine brings its own model"),
        (["fast=yes"], "unknown fast 'yes'; choose true, false, null"),
        (["model=paper,tiny"], "model takes one name; only spaces combine"),
        (["model=tiny", "model.vocabulary=reduced", "train.scored_in=full"], "cannot write all that would count"),
        (["base=run:63", "experiment=run_63"], "two beginnings"),
        (["experiment=run_60"], "unknown experiment"),
        (["space=[all,depth]"], "stands alone"),
        (["experiment=run_50", "model=tiny"], "must be multiples of 128 x 32"),
        (["history=always"], "unknown history 'always'; choose points, prior, none"),
    ):
        with pytest.raises(ConfigError, match=message):
            compose(words)


def test_the_names_are_those_that_can_be_built() -> None:
    assert tuple(SAMPLERS) == SAMPLER_NAMES
    assert tuple(RULES) == SCHEDULER_NAMES
    assert set(choices("sampler")) == set(SAMPLER_NAMES)
    assert set(choices("scheduler")) == set(SCHEDULER_NAMES)


def test_the_composed_configuration_can_be_read() -> None:
    text = as_yaml(compose(["model=tiny"]))
    assert "drop_path_rate: 0.0" in text
    assert "origin: training log, run 51" in text
