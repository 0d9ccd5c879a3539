"""What is read for what, and on which staves: by hand, and with what must add up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.notation import Symbol, parse_written
from omr_model.metrics import Edit, ErrorClass, align, edits
from results.page.blocks import Chart, Grid, Prose
from results.page.confusion import (
    accidental_confusions,
    confusion_blocks,
    pitch_errors,
    rhythm_confusions,
    signature_confusions,
)
from results.page.rates import OTHERS, by_class, groupings, hard_groups
from results.page.readings import ReadStaff
from tests.strategies import symbol_salad


def staff(prediction: Sequence[Symbol], reference: Sequence[Symbol], work: str = "w", source: str = "diw") -> ReadStaff:
    return ReadStaff(work, work, source, prediction, reference, align(prediction, reference), None)


def read(prediction: str, reference: str, work: str = "w", source: str = "diw") -> ReadStaff:
    return staff(parse_written(prediction), parse_written(reference), work, source)


def edits_of(prediction: str, reference: str) -> list[Edit]:
    return edits(parse_written(prediction), parse_written(reference))


def test_confusions_are_told_apart_by_what_is_confused() -> None:
    found = edits_of(
        "clef-F4 barline keySignature-DM barline note-C4_eighth note-C5_half note-F4_whole barline barline tie",
        "clef-G2 barline barline note-C4_quarter note-D5_half note-F#4_whole barline rest-half barline",
    )

    assert rhythm_confusions(found) == {
        ("nothing", "key signature"): 1,
        ("quarter note", "eighth note"): 1,
        ("half rest", "nothing"): 1,
        ("nothing", "tie"): 1,
    }
    assert signature_confusions(found) == {("G2", "F4"): 1, ("nothing", "D major"): 1}
    assert pitch_errors(found) == {-1: 1}
    assert accidental_confusions(found) == {("sharp", "none"): 1}


@pytest.mark.parametrize(
    ("wrong", "steps"), [("D4", 1), ("B3", -1), ("C5", 7), ("D5", 7), ("C3", -7), ("C1", -7), ("C0", None)]
)
def test_a_pitch_is_off_by_steps_of_the_scale_and_a_note_without_one_by_none(wrong: str, steps: int | None) -> None:
    assert pitch_errors(edits_of(f"note-{wrong}_half", "note-C4_half")) == ({} if steps is None else {steps: 1})


@given(st.lists(st.tuples(symbol_salad(), symbol_salad()), max_size=4))
def test_the_cells_of_a_figure_and_the_classes_add_up_to_the_errors(
    pairs: list[tuple[list[Symbol], list[Symbol]]],
) -> None:
    staves = [staff(prediction, reference, str(place)) for place, (prediction, reference) in enumerate(pairs)]
    errors = [edit for one in staves for edit in one.edits]

    blocks = confusion_blocks(staves)

    assert sum(part.edits.distance for part in by_class(staves)) == len(errors)
    assert not errors or {str(error) for error in ErrorClass} == {part.name for part in by_class(staves)}
    charts = {block.name: block for block in blocks if isinstance(block, Chart)}
    counts = {name: sum(row["count"] for row in chart.spec["data"]["values"]) for name, chart in charts.items()}
    assert counts.get("confusion-rhythm", 0) == rhythm_confusions(errors).total()
    assert counts.get("confusion-pitch", 0) == pitch_errors(errors).total()
    for name, chart in charts.items():
        axes = chart.spec["encoding"]
        for row in chart.spec["data"]["values"] if name != "confusion-pitch" else []:
            assert row["read"] in axes["x"]["scale"]["domain"]
            assert row["printed"] in axes["y"]["scale"]["domain"]
    assert isinstance(blocks[-1], Grid if errors else Prose)


def test_the_list_says_no_more_than_what_is_wrong_and_its_share() -> None:
    grid = confusion_blocks(
        [
            read("note-C5_quarter note-C5_quarter", "note-D5_quarter note-D5_half"),
            read("note-C5_quarter", "note-D5_quarter"),
            read("note-C5_quarter barline", "note-C5_half"),
        ]
    )[-1]

    assert isinstance(grid, Grid)
    assert [list(row) for row in grid.rows] == [
        ["D5", "C5", "pitch", "2", "40.0 %"],
        ["nothing", "bar line", "barlines", "1", "20.0 %"],
        ["half note D5", "quarter note C5", "pitch", "1", "20.0 %"],
        ["half note", "quarter note", "rhythm", "1", "20.0 %"],
    ]


def test_staves_are_grouped_by_corpus_length_clef_and_key_and_strips_without_music_by_corpus_alone() -> None:
    music = [
        read("clef-G2 keySignature-DM barline", "clef-G2 keySignature-DM barline", "a", "primus"),
        read("barline", "clef-F4 keySignature-EbM barline barline", "b", "primus"),
        read("barline barline", "barline", "c", "cpms"),
    ]
    found = {one.name: one.groups for one in groupings([*music, read("tie", "", "d", "diw")])}

    assert [(group.name, group.ser) for group in found["corpus"]] == [
        ("primus", "42.9 %"),
        ("cpms", "100.0 %"),
        ("diw", "1.00 symbols a strip"),
    ]
    assert [group.name for group in found["length"]] == ["1 to 3 symbols", "4 symbols"]
    assert [group.staves for group in found["length"]] == [2, 1]
    assert [group.name for group in found["clef"]] == ["G2", "F4", "none"]
    assert [group.name for group in found["key"]] == ["D major", "E♭ major", "none"]


def test_the_rarest_of_many_groups_stand_together() -> None:
    corpora = [f"c{number}" for number in range(12) for _ in range(12 - number)]
    (groups,) = (
        one.groups
        for one in groupings([read("barline", "barline", "w", one) for one in corpora])
        if one.name == "corpus"
    )

    assert [group.name for group in groups] == ["c0", "c1", "c2", "c3", "c4", "c5", "c6", OTHERS]
    assert sum(group.staves for group in groups) == len(corpora)


def test_a_group_is_hard_if_more_than_chance_says_so_and_not_for_a_few_works() -> None:
    def staves(hard: int) -> list[ReadStaff]:
        easy = [read("barline " * 9 + "tie", "barline " * 10, f"e{number}", "primus") for number in range(60)]
        return easy + [
            read("tie " * 5 + "barline " * 5, "barline " * 10, f"h{number}", "cpms") for number in range(hard)
        ]

    assert [(grouping.name, group.name) for grouping, group in hard_groups(staves(12), groupings(staves(12)))] == [
        ("corpus", "cpms")
    ]
    assert hard_groups(staves(3), groupings(staves(3))) == []
