"""Command line to `SearchConfig`: what composes, what is refused, and in which words."""

from __future__ import annotations

import pytest

from datasets.errors import ConfigError
from omr_model.config import PRESETS
from search.compose import GROUPS, as_yaml, choices, compose, device_note, space_names


@pytest.mark.parametrize("space", choices("space"))
@pytest.mark.parametrize("model", choices("model"))
def test_every_space_composes_with_every_model(space: str, model: str) -> None:
    config = compose([f"space={space}", f"model={model}"])
    assert config.training() == PRESETS[model]
    assert config.space.parameters


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_of_every_group_composes(group: str) -> None:
    for choice in choices(group):
        compose(["model=tiny", *([] if (group, choice) == ("model", "tiny") else [f"{group}={choice}"])][-2:])


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
            "train.betas=[0.8,0.99]",
            "space.parameters.decoder_dropout.high=0.3",
            "budget.hours=1.5",
        ]
    )
    assert (config.study, config.paths.studies) == ("2024_05_01", "/tmp/it's a, b=c")
    assert (config.model.decoder.depth, config.train.betas) == (3, (0.8, 0.99))
    assert config.space.parameters["decoder_dropout"].high == 0.3
    assert config.budget.hours == 1.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["space=nosuch"], "space=nosuch: no such space; there are dropout"),
        (["space=[dropout,nosuch]"], "space=nosuch: no such space"),
        (["sampler=tp"], "did you mean tpe?"),
        (["train.epocs=3"], "train.epocs: no such field; there are train.epochs"),
        (["nosuch=3"], "nosuch: no such field"),
        (["train.epochs=many"], "train.epochs: Value 'many' of type 'str' could not be converted to Integer"),
        (["train.epochs=0"], "`train.epochs` must be at least 1, but got 0"),
        (["model.backbone.drop_rate=1.2"], "`backbone.drop_rate` must be between 0 and 0.95, but got 1.2"),
        (["budget.trials=0"], "`budget.trials` must be at least 1"),
        (["trial.cpus=0"], "`trial.cpus` must be at least 1"),
        (["data.staff=huge"], "data.staff=huge"),
        (["dropout"], "'dropout' is not of the form field=value or group=choice"),
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
    assert space_names(["space=[dropout,dropout]"]) == ["dropout", "dropout"]


def test_the_composed_configuration_can_be_read() -> None:
    text = as_yaml(compose(["model=tiny"]))
    assert "drop_path_rate: 0.0" in text
    assert "origin: training log, run 51" in text
