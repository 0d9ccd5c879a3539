"""ABC tunes, written so that nothing of them is lost on the way."""

from __future__ import annotations

import pytest

from datasets.scores import mei
from datasets.scores.score import read_score
from datasets.sources.tunes import normalised, readable, title_of

HEAD = "X:1\nT:A tune\nM:2/4\nL:1/8\nK:G\n"


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("The Bonnie Lass -- Reel", "bonnie lass"),
        ("Bonny Lass, The", "bonny lass"),
        ("Das Mädchen", "madchen"),
        ("Saint Patrick's Day", "saint patricks day"),
        ("The Reel", "the reel"),
    ],
)
def test_titles_are_compared_by_their_words(title: str, expected: str) -> None:
    assert normalised(title) == expected
    assert title_of(f"X:1\nT: {title}\nK:G\n") == expected


@pytest.mark.parametrize(
    ("abc", "kept"),
    [
        ("K:G\nAB|cd|\n", "K:G\nAB|cd|\n"),
        ("K:G\nAB|cd|\nK:D\nef|", "K:G\nAB|cd|"),
        ("K:G\nAB|c[K:D]d|", "K:G\nAB|"),
    ],
)
def test_a_tune_ends_where_its_key_changes(abc: str, kept: str) -> None:
    assert readable(abc) == kept


@pytest.mark.parametrize(
    ("music", "expected"),
    [
        ("ABcd|efge", "ABcd|efge|"),
        ("ABcd|efge % the end\n\n", "ABcd|efge|% the end\n\n"),
        ("ABcd|efge\nw: la la\n", "ABcd|efge|\nw: la la\n"),
        ("ABcd|[Beg]4", "ABcd|[Beg]4|"),
        ("ABcd|efge|]\n", "ABcd|efge|]\n"),
        ("ABcd|efge:|\n", "ABcd|efge:|\n"),
        ("ABcdefge", "ABcdefge"),
        ("T:a::b\n|:ABcd::efge:|", "T:a::b\n|:ABcd:||:efge:|"),
    ],
)
def test_every_measure_gets_its_barline(music: str, expected: str) -> None:
    assert readable(HEAD + music) == HEAD + expected


@pytest.mark.parametrize("music", ["ABcd|efge", "|:ABcd::efge:|", "ABcd|efge|]"])
def test_no_measure_is_lost(music: str) -> None:
    score = read_score(readable(HEAD + music).encode(), ".abc")
    measures = mei.read_single_voice(score.root, score.staff_numbers[0])
    assert [len(measure.symbols) for measure in measures] == [4, 4]
