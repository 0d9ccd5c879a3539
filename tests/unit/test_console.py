"""What the terminal shows of a search."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console as Screen

from search.console import Console

SETTINGS = {"model.backbone.drop_rate": 0.125, "model.decoder.dropout": 0.0}


def plain() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(trials=3, epochs=9, rungs=[1, 3], stream=stream), stream


def shown(console: Console, width: int = 120) -> str:
    screen = Screen(width=width, file=io.StringIO(), record=True)
    screen.print(console.table(width))
    return screen.export_text()


def test_without_a_terminal_each_event_is_a_plain_line() -> None:
    console, stream = plain()
    with console:
        console.started(0, SETTINGS)
        console.epoch(0, 1, 0.5, 100.0)
        console.ended(0, "pruned", "stopped after epoch 1 of 9")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert "trial   0  starts    backbone.drop_rate 0.125  decoder.dropout 0" in lines[0]
    assert "epoch  1/9  SER  50.0 %   100 staves/s" in lines[1]
    assert lines[2].endswith("pruned: stopped after epoch 1 of 9; best so far 50.0 %, trial 0; about 1 min left")
    assert "\x1b" not in stream.getvalue()


def test_the_best_is_chosen_among_those_that_got_furthest() -> None:
    console, _ = plain()
    for number, (epoch, ser) in enumerate([(1, 0.1), (3, 0.4), (3, 0.3)]):
        console.started(number, SETTINGS)
        console.epoch(number, epoch, ser, 10.0)
    assert console.best is not None
    assert console.best.number == 2


def test_of_equals_the_earliest_is_the_best_whichever_came_first() -> None:
    """As at the end (`results.ranking`)."""
    console, _ = plain()
    for number in (0, 1):
        console.started(number, SETTINGS)
    for number in (1, 0):
        console.epoch(number, 9, 3.0, 10.0)
        console.ended(number, "completed", "")
    assert console.best is not None
    assert console.best.number == 0


def test_a_repeat_is_no_equation_and_is_told_from_the_trial_that_it_repeats() -> None:
    console, _ = plain()
    console.started(4, SETTINGS)
    console.started(13, SETTINGS, repeats=4)
    text = shown(console)
    assert "13 (4 again)" in text
    assert "=" not in text


DROPOUT = {
    "model.backbone.drop_rate": 0.1,
    "model.backbone.drop_path_rate": 0.2,
    "model.encoder.dropout": 0.3,
    "model.encoder.attention_dropout": 0.4,
    "model.decoder.dropout": 0.5,
    "train.dropout.schedule": "standard",
}


def test_a_heading_says_no_more_than_tells_the_parameters_apart_so_that_values_fit() -> None:
    console, _ = plain()
    console.started(0, DROPOUT)
    console.epoch(0, 1, 0.5, 10.0)
    lines = shown(console, 80).splitlines()
    headings = lines[2:-1]
    assert len(headings) <= 3
    assert "model" not in " ".join(headings)
    assert lines[-1].split()[-4:] == ["0.1", "0.2", "0.3", "0.4"]


def test_the_table_shows_epoch_ser_speed_and_settings() -> None:
    console, _ = plain()
    console.started(0, SETTINGS)
    console.epoch(0, 4, 0.321, 57.0)
    text = shown(console)
    header, row = text.splitlines()[-2:]
    assert [*row.split()][:5] == ["0", "running", "4/9", "32.1", "57"]
    assert row.split()[-2:] == ["0.125", "0"]
    assert "staves/s" in header
    assert "0 of 3 trials ended" in text
    assert "best SER 32.1 % (trial 0)" in text


def test_a_long_study_stays_as_high_as_a_terminal() -> None:
    console, _ = plain()
    for number in range(100):
        console.started(number, SETTINGS)
        console.epoch(number, 1, 0.9 - number / 1000, 10.0)
        console.ended(number, "pruned", "")
    console.started(100, SETTINGS)
    text = shown(console)
    assert len(text.splitlines()) < 32
    assert "running" in text
    assert any(line.startswith("99 ") for line in text.splitlines())  # the best of the ended


def test_an_empty_search_has_a_table_too() -> None:
    console, _ = plain()
    assert "0 of 3 trials ended" in shown(console)


MANY = {
    **SETTINGS,
    "optimizer.learning_rate": 1.234e-4,
    "optimizer.weight_decay": 0.01,
    "train.mix.weights.engraved": 0.5,
    "model.backbone.layers": "[2, 3, 7]",
}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("settings", [SETTINGS, MANY])
def test_no_line_is_longer_than_the_terminal_and_no_number_is_cut(settings: dict[str, object], width: int) -> None:
    console, _ = plain()
    for number in range(3):
        console.started(number, settings)
        console.epoch(number, 2, 0.123, 1234.0)
    console.ended(1, "completed", "")
    lines = shown(console, width).splitlines()
    assert max(map(len, lines)) <= width
    rows = [line.split() for line in lines if "2/9" in line]
    assert [row[0] for row in rows] == ["0", "2", "1"]
    assert all({"12.3", "1"} & set(row) and "…" not in "".join(row) for row in rows)
    whole = settings is SETTINGS or width == 120
    assert any("…" in line for line in lines) is not whole or width == 60


def test_what_is_left_is_an_estimate_from_the_trials_of_this_session(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    console = Console(trials=3, epochs=9, rungs=[1, 3], stream=io.StringIO(), again=(2, 2))
    console.started(0, SETTINGS)
    assert console.left == ""  # no epoch has ended
    for epoch in range(1, 10):
        now[0] += 60
        console.epoch(0, epoch, 0.5, 10.0)
    assert console.left == ""  # two more are to come, and nobody knows how far they get
    console.ended(0, "completed", "")
    assert console.left == "about 36 to 54 min left"  # twice 9 epochs, and then one or two rounds of two trainings
    console.deadline = now[0] + 600
    assert console.left == "about 10 min left"


def test_where_only_the_clock_ends_a_search_that_is_what_is_left() -> None:
    console = Console(trials=None, epochs=9, rungs=[], stream=io.StringIO())
    console.started(0, SETTINGS)
    console.epoch(0, 1, 0.5, 10.0)
    assert console.left == ""
    console.deadline = time.monotonic() + 3 * 3600
    assert console.left == "about 3 h left"
