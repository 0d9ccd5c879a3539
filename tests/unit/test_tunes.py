"""ABC tunes, written so that nothing of them is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.scores import mei
from datasets.scores.score import read_score
from datasets.sources.tunes import changes_key, has_several_voices, normalised, readable, title_of, tunes_of

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
        ("K:G\n|:AB|cd::[K:D]ef:|", "K:G\n|:AB|cd:||"),
    ],
)
def test_a_tune_ends_where_its_key_changes(abc: str, kept: str) -> None:
    assert readable(abc) == kept
    assert changes_key(abc) == ("K:D" in abc)


@pytest.mark.parametrize(
    ("music", "expected"),
    [
        ("V:1\nABcd|\nV:2\nGABc|\n", True),
        ("[V:upper]ABcd|\n[V:lower]GABc|\n", True),
        ("V:1 name=Flute\nABcd|\n[V:1]GABc|\n", False),
        ("ABcd|GABc|\n", False),
    ],
)
def test_voices_are_told_apart_by_their_names(music: str, expected: bool) -> None:
    assert has_several_voices(HEAD + music) == expected


def test_a_byte_order_mark_hides_no_tune(tmp_path: Path) -> None:
    path = tmp_path / "book.abc"
    path.write_text(f"{HEAD}ABcd|\n{HEAD}GABc|\n", encoding="utf-8-sig")
    assert tunes_of(path) == [f"{HEAD}ABcd|\n", f"{HEAD}GABc|\n"]


def test_what_the_header_of_a_book_says_holds_for_every_tune(tmp_path: Path) -> None:
    path = tmp_path / "book.abc"
    path.write_text("%abc-2.1\nL:1/4\nM:2/4\nC:Anon.\n\nX:1\nK:G\nAB|\nX:2\nL:1/8\nK:G\nABcd|\n", encoding="utf-8")
    assert tunes_of(path) == ["X:1\nL:1/4\nM:2/4\nK:G\nAB|\n", "X:2\nL:1/4\nM:2/4\nL:1/8\nK:G\nABcd|\n"]
    scores = [read_score(readable(tune).encode(), ".abc") for tune in tunes_of(path)]
    read = [mei.read_single_voice(score.root, "1") for score in scores]
    assert [symbol.rhythm for (measure,) in read for symbol in measure.symbols] == [
        *["note-quarter"] * 2,
        *["note-eighth"] * 4,
    ]


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
