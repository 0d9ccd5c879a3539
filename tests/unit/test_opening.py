"""What a search says before its first trial."""

from __future__ import annotations

import pytest

from datasets.shards import PreparedCorpus
from search.compose import compose
from search.engine.cluster import Cluster
from search.lines import line, say
from search.opening import job_description, trials_text, what_is_searched, where_to_watch
from search.study import space_of


def opened(corpus: PreparedCorpus, *words: str, cpus: int = 2, gpus: int = 0) -> dict[str, str]:
    config = compose(["model=tiny", "space=dropout", "study=mine", *words])
    return dict(what_is_searched(config, space_of(config), corpus, Cluster(cpus, gpus, None, None)))


def test_it_says_what_is_searched_and_how(corpus: PreparedCorpus) -> None:
    lines = opened(corpus, "train.epochs=9", "budget.trials=20")
    assert lines["search"] == (
        "9 parameters in 20 trials of 9 epochs; the base and 3 more that are given first, then tpe; "
        "hyperband stops weak trials after epochs 4 and 8, in 2 brackets; 2 at a time, 1 core each"
    )
    assert lines["study"].startswith("mine   in ")
    assert "note" not in lines


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["sampler=grid", "sampler.resolution=2", "space=weight_decay"], "then a grid of "),
        (["history=none", "sampler=random"], "the base first, then random; "),
        (["budget.trials=1"], "in 1 trial of 9 epochs; the base first, then tpe; "),
        (["scheduler=none"], "; every trial is trained to the end; "),
        (["cluster.gpus=1", "trial.gpus=0.5"], "; 2 at a time, 0.5 GPU and 1 core each"),
    ],
)
def test_other_searches_say_other_things(corpus: PreparedCorpus, words: list[str], part: str) -> None:
    lines = opened(corpus, "train.epochs=9", "budget.trials=20", *words, gpus=1)
    assert part in lines["search"]


@pytest.mark.parametrize(("trials", "told"), [(8, True), (9, False)])
def test_fewer_trials_than_parameters_are_called_a_demonstration(
    corpus: PreparedCorpus, trials: int, told: bool
) -> None:
    lines = opened(corpus, f"budget.trials={trials}")
    assert ("note" in lines) is told
    if told:
        assert lines["note"].startswith("8 trials for 9 parameters are a demonstration")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["budget.trials=8"], "8 trials of 9 epochs"),
        (["budget.trials=null", "budget.hours=1"], "trials of 9 epochs, up to 1 hour"),
        (["budget.trials=8", "budget.gpu_hours=2.5"], "trials of 9 epochs, up to 8 trials or 2.5 GPU hours"),
    ],
)
def test_what_ends_it(words: list[str], text: str) -> None:
    config = compose(["model=tiny", "space=dropout", "train.epochs=9", "study=mine", *words])
    assert trials_text(config) == text
    assert job_description(config)["job_name"] == f"mine: {text}, tpe and hyperband"


def test_where_to_watch() -> None:
    config = compose(["model=tiny", "space=dropout", "study=mine", "trackers=[tensorboard]"])
    everything = Cluster(2, 0, "http://127.0.0.1:8265", "secret", "http://127.0.0.1:1/metrics", remarks=("old Ray",))
    assert list(where_to_watch(config, everything)) == [
        ("dashboard", "http://127.0.0.1:8265   token secret   (asked for once)"),
        ("metrics", "http://127.0.0.1:1/metrics"),
        ("cluster", "old Ray"),
        ("trackers", "tensorboard   in results/studies/mine/trackers"),
    ]
    assert [name for name, _ in where_to_watch(config, Cluster(2, 0, None, None))] == ["trackers"]


def test_prose_goes_on_beneath_its_text_and_what_is_copied_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("note", "word " * 30)
    line("study", "word " * 30)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("note       word word")
    assert second.startswith(" " * 11 + "word")
    assert third == "study      " + "word " * 30
