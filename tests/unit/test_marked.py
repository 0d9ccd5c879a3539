"""A staff drawn for a page: what is marked shows, in any page and any light."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import numpy as np
import pytest
import resvg_py
from hypothesis import given, settings

from datasets.images import WHITE, decode_png
from datasets.notation import CHORD, FERMATA, Symbol, parse
from datasets.scores.ink import SVG
from datasets.scores.marked import MarkedStaff, draw_marked, marked_svg
from datasets.vocabulary import VOCABULARIES
from datasets.workers import Failure, Workers
from tests.strategies import vocabulary_salad

STAFF = parse(
    "clef-G2 keySignature-DM timeSignature-3/4 note-F#5_quarter.|note-D5_quarter. note-C5_eighth tie barline"
    " note-C5_half_fermata barline keySignature-CM multirest-3 barline clef-F4 rest-eighth gracenote-C3_sixteenth"
    " note-Eb3_sixteenth barline"
)
LEFT_OUT = ("tie", CHORD)  # what may not be drawn, where it makes no sense


def groups(svg: str) -> list[ET.Element]:
    return [group for group in ET.fromstring(svg).iter(f"{SVG}g") if group.get("class") == "wrong"]


def box(group: ET.Element) -> tuple[float, float, float, float]:
    """Left, top, right and bottom."""
    rect = group.findall(f"{SVG}rect")[-1]
    left, top, width, height = (float(rect.get(name, "")) for name in ("x", "y", "width", "height"))
    return left, top, left + width, top + height


def everything(symbols: list[Symbol]) -> MarkedStaff:
    return draw_marked(symbols, range(len(symbols)))


@pytest.mark.parametrize("index", [index for index, symbol in enumerate(STAFF) if symbol.rhythm != CHORD])
def test_every_kind_of_symbol_can_be_marked_alone(index: int) -> None:
    staff = draw_marked(STAFF, {index})
    assert staff.remarks == ()
    assert len(groups(staff.svg)) == (2 if STAFF[index].rhythm.endswith(FERMATA) else 1)


def test_nothing_is_marked_without_need() -> None:
    assert groups(marked_svg(STAFF, ())) == []


def test_marks_stand_in_the_order_of_the_symbols() -> None:
    singles = [
        index for index, symbol in enumerate(STAFF) if symbol.kind in ("clef", "keySignature", "rest", "barline")
    ]
    lefts = [box(groups(marked_svg(STAFF, {index}))[0])[0] for index in singles]
    assert lefts == sorted(lefts)


def test_of_a_chord_one_note_alone_is_marked() -> None:
    (upper,), (lower,), (both,) = (groups(marked_svg(STAFF, marked)) for marked in ({3}, {5}, {3, 5}))
    assert box(upper)[3] < box(lower)[3] < box(both)[3]  # the stem, too, belongs to both
    assert len(both.findall(f"{SVG}path")) > len(upper.findall(f"{SVG}path"))


def test_a_joiner_marks_the_note_after_it_unless_one_of_its_notes_is_wrong() -> None:
    assert marked_svg(STAFF, {4}) == marked_svg(STAFF, {5})
    assert marked_svg(STAFF, {3, 4}) == marked_svg(STAFF, {3})


def test_a_key_without_accidentals_is_marked_by_an_empty_box() -> None:
    (empty,) = groups(marked_svg(parse("clef-G2 keySignature-CM timeSignature-C note-C4_whole barline"), {1}))
    assert [shape.tag for shape in empty] == [f"{SVG}rect"]


def test_a_note_without_a_pitch_stays_on_the_staff() -> None:
    lowest = Symbol("note-quarter", "C0")  # `Vocabulary.decode` of a note without one
    symbols = [*parse("clef-F4 note-D3_quarter"), lowest, Symbol(CHORD), *parse("note-A3_quarter")]
    (middle,), (pitchless,) = (groups(draw_marked(symbols, {index}).svg) for index in (1, 2))
    assert abs(box(middle)[1] - box(pitchless)[1]) < 180  # a staff space; its own place is ten below
    assert middle[0].get("d") != pitchless[0].get("d")


def test_both_staves_of_a_grand_staff_are_marked() -> None:
    head = "keySignature-GM timeSignature-3/4"
    symbols = parse(f"clef-G2 {head} note-C5_half. barline clef-F4 {head} note-C3_half. barline")
    for upper, lower in zip(range(5), range(5, 10), strict=True):
        (above,), (below,) = (groups(marked_svg(symbols, {index})) for index in (upper, lower))
        assert box(above)[3] < box(below)[1]


def test_what_is_not_drawn_is_said() -> None:
    symbols = [Symbol("tie"), *parse("clef-G2 note-C4_half")]
    staff = draw_marked(symbols, {0, 2})
    assert "symbol 1, tie, is not drawn" in staff.remarks
    assert "symbol 1, tie, is not drawn" in (ET.fromstring(staff.svg).findtext(f"{SVG}desc") or "")
    assert len(groups(staff.svg)) == 1


def test_any_number_of_them_can_stand_in_one_page() -> None:
    svg = everything(STAFF).svg
    assert not re.search(r"\bid=|<style|font|href|url\(|<text", svg)
    assert len(svg) < 25_000
    root = ET.fromstring(svg)
    assert root.get("width", "").endswith("em")
    assert root.get("height", "").endswith("em")
    assert root.get("role") == "img"
    assert root.get("aria-label")


def test_it_takes_the_colour_of_the_text_and_marks_in_another() -> None:
    svg = marked_svg(STAFF, {12})
    assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', svg)) == {"currentColor"}
    for ink, paper in (("#111111", "#ffffff"), ("#eeeeee", "#111111")):
        page = svg.replace("<svg ", f'<svg color="{ink}" ', 1)
        drawn = decode_colours(resvg_py.svg_to_bytes(svg_string=page, background=paper, width=800))
        assert drawn[int(ink[1:3], 16)] > 500
        assert drawn[-1] > 100, "nothing in colour"


def decode_colours(png: bytes) -> dict[int, int]:
    """How many pixels are of each gray; -1 counts those of a colour."""
    import cv2

    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).astype(int)
    coloured = np.ptp(image, axis=2) > 40
    grays, counts = np.unique(image[~coloured][:, 0], return_counts=True)
    return {**dict(zip(grays.tolist(), counts.tolist(), strict=True)), -1: int(coloured.sum())}


def test_all_of_the_ink_is_in_the_frame() -> None:
    high_and_low = parse("clef-G2 keySignature-CM note-C8_half_fermata note-C1_half tie barline note-C1_half barline")
    svg = marked_svg(high_and_low, {2, 3, 4}).replace("<svg ", '<svg color="#000000" ', 1)
    image = decode_png(resvg_py.svg_to_bytes(svg_string=svg, background="#ffffff", width=600))
    frame = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert (frame == WHITE).all()
    assert image.min() < 60


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers[list[Symbol], MarkedStaff]]:
    with Workers(everything, count=1) as workers:
        yield workers


@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=lambda vocabulary: vocabulary.name)
def test_whatever_a_model_writes_can_be_drawn(vocabulary, workers: Workers[list[Symbol], MarkedStaff]) -> None:
    @settings(max_examples=25)
    @given(symbols=vocabulary_salad(vocabulary))
    def holds(symbols: list[Symbol]) -> None:
        (staff,) = workers.map([symbols])
        assert not isinstance(staff, Failure)
        undrawn = [remark.split(", ")[1] for remark in staff.remarks if remark.startswith("symbol ")]
        assert set(undrawn) <= set(LEFT_OUT)

    holds()
