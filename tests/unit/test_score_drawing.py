"""Drawing a score as it stands."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter

import numpy as np
import pytest

from datasets.images import WHITE
from datasets.notation import parse
from datasets.scores import drawing as score_drawing
from datasets.scores.drawing import engrave_score
from datasets.scores.engraving import EngravingError, TooWideError, Typography, draw_mei
from datasets.scores.excerpt import excerpt
from datasets.scores.mei import MeiError
from datasets.scores.score import Score, grand_label, label
from datasets.scores.staff_ink import compare
from datasets.staff import STAFF_SIZES, StaffSize
from tests.unit.test_mei_voices import F, G, note, rest, score, staff

FULL, GRAND = STAFF_SIZES["full"], STAFF_SIZES["grand"]
TYPOGRAPHY = Typography.seeded(1, GRAND)

UPPER = [
    staff(note("c5", 2) + rest(), note("e4", stem_dir="down") + note("f4") + rest()),
    staff('<clef shape="G" line="2"/>' + note("g5", 2, accid="s") + F + note("c3")),
    staff(note("d4").replace("<note", '<note xml:id="a"') + note("d3").replace("<note", '<note xml:id="b"')),
]
LOWER = [staff(note("c3", 2, dots="1"), n=2), staff("<mRest/>", n=2), staff(note("c3", 2), n=2)]


def piece(*signs: str) -> Score:
    """Three measures for two staves; the signs stand in the last."""
    measures = [upper + lower for upper, lower in zip(UPPER, LOWER, strict=True)]
    return Score(score(*measures[:2], measures[2] + "".join(signs), heads=(G, F)))


def mei(of: Score, staves: tuple[int, ...], start: int = 0, stop: int = 3) -> str:
    return excerpt(of.root, {of.staff_numbers[each]: of.measures(each) for each in staves}, start, stop)


def tags(text: str) -> Counter[str]:
    return Counter(element.tag.rpartition("}")[2] for element in ET.fromstring(text).iter())


def ink_rows(image: np.ndarray) -> np.ndarray:
    return np.flatnonzero((image < WHITE).any(axis=1))


@pytest.mark.parametrize(("staves", "size"), [((0,), FULL), ((1,), FULL), ((0, 1), GRAND)])
def test_staves_are_drawn_in_an_image_of_the_size(staves: tuple[int, ...], size: StaffSize) -> None:
    image = engrave_score(piece(), staves, size, seed=3)
    assert image.shape == (size.height, size.width)
    assert np.array_equal(image, engrave_score(piece(), staves, size, seed=3))
    middle = ink_rows(image).mean() / size.height
    assert 0.35 < middle < 0.65


def test_a_grand_staff_is_higher_than_one_of_its_staves() -> None:
    both, one = (engrave_score(piece(), staves, GRAND, seed=3) for staves in ((0, 1), (0,)))
    assert np.ptp(ink_rows(both)) > 1.5 * np.ptp(ink_rows(one))


def test_a_stretch_opens_with_the_clef_and_the_key_in_force() -> None:
    clef = '<staffGrp><staffDef n="1"><clef shape="C" line="3"/></staffDef></staffGrp>'
    change = f'<scoreDef><keySig sig="2s"/>{clef}</scoreDef>'
    of = Score(score(staff(note("c4")), change, staff(note("c4")), staff(note("d4"))))
    whole, last = mei(of, (0,)), mei(of, (0,), 2, 3)
    assert (tags(whole)["clef"], tags(whole)["keySig"]) == (2, 2)
    assert (tags(last)["clef"], tags(last)["keySig"], tags(last)["measure"]) == (1, 1, 1)
    assert engrave_score(of, (0,), FULL, seed=0, start=2).shape == (FULL.height, FULL.width)


def test_signs_of_other_staves_and_loose_ends_are_left_out() -> None:
    of = piece(
        '<slur startid="#a" endid="#b"/>',
        '<slur startid="#a" endid="#elsewhere"/>',
        '<dynam staff="2" tstamp="1">f</dynam>',
        '<hairpin staff="1" tstamp="1" tstamp2="1m+1"/>',
        '<dir staff="1" tstamp="1">dolce</dir>',
        '<fermata startid="#b"/>',
    )
    assert {tag: tags(mei(of, (0,)))[tag] for tag in ("slur", "dynam", "hairpin", "dir", "fermata")} == {
        "slur": 1,
        "dynam": 0,
        "hairpin": 0,
        "dir": 0,
        "fermata": 1,
    }
    assert tags(mei(of, (0, 1)))["dynam"] == 1
    assert tags(mei(of, (0,), 0, 2))["slur"] == 0


def test_a_rest_of_both_voices_and_a_repeated_clef_are_drawn_once() -> None:
    drawn = tags(mei(piece(), (0,)))
    assert (drawn["rest"], drawn["space"]) == (1, 1)
    assert drawn["clef"] == 2  # at the start, and the change


def test_the_score_itself_is_left_as_it_is() -> None:
    of = piece('<slur startid="#a" endid="#b"/>')
    before = ET.tostring(of.root)
    engrave_score(of, (0, 1), GRAND, seed=0)
    assert ET.tostring(of.root) == before


def drawing(of: Score, staves: tuple[int, ...]) -> ET.Element:
    return ET.fromstring(draw_mei(mei(of, staves, 0, len(of.measures(0))), TYPOGRAPHY))


def test_a_drawing_shows_what_its_labels_say() -> None:
    assert compare([label(piece(), 0), label(piece(), 1)], drawing(piece(), (0, 1))) == (Counter(), Counter())


@pytest.mark.parametrize(
    ("true", "false", "missing", "extra"),
    [
        ("note-G#5_half", "note-G5_half", [], ["accid E262"]),
        ("note-G#5_half", "note-GN5_half", ["accid E261"], ["accid E262"]),
        ("note-C3_half.", "note-C3_half", [], ["dots"]),
        ("note-C5_half", "note-C5_quarter", ["notehead E0A4"], ["notehead E0A3"]),
        ("rest-quarter", "rest-eighth", ["rest E4E6"], ["rest E4E5"]),
        ("rest-whole barline", "rest-whole", [], ["barline"]),
        ("clef-F4 note-C3_quarter", "note-C3_quarter", [], ["clef E062"]),
        ("note-C3_half.", "note-C3_half._fermata", ["fermata"], []),
    ],
)
def test_a_label_that_is_not_the_drawing_is_found_out(
    true: str, false: str, missing: list[str], extra: list[str]
) -> None:
    labels = [" ".join(map(str, label(piece(), staff_))).replace(" | ", "|") for staff_ in (0, 1)]
    assert any(true in semantic for semantic in labels)
    false_labels = [parse(semantic.replace(true, false, 1)) for semantic in labels]
    found = compare(false_labels, drawing(piece(), (0, 1)))
    assert [sorted(counts) for counts in found] == [missing, extra]


def test_no_more_fermatas_are_drawn_than_heads_can_have() -> None:
    signs = "".join(f'<fermata staff="1" tstamp="{beat}"/>' for beat in (1, 1, 1, 1))
    of = Score(score(staff(note("c5", fermata="above")) + signs))
    missing, extra = compare([label(of, 0)], drawing(of, (0,)))
    assert (missing, set(extra)) == (Counter(), {"fermata"})


def test_a_long_has_its_head() -> None:
    long = staff('<note pname="c" oct="5" dur="long"/><rest dur="long"/>')
    of = Score(score(long))
    said = label(of, 0)
    assert compare([said], drawing(of, (0,))) == (Counter(), Counter())
    other = parse(" ".join(map(str, said)).replace("note-C5_quadruple_whole", "note-C5_double_whole"))
    missing, extra = compare([other], drawing(of, (0,)))
    assert (sorted(missing), sorted(extra)) == (["notehead E0A0"], ["notehead shape"])


def test_an_image_that_is_not_its_label_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_drawing, "compare", lambda *_: (Counter(["tie"]), Counter(["dots"])))
    with pytest.raises(EngravingError, match="image and label differ: no tie, unexpected dots"):
        engrave_score(piece(), (0,), FULL, seed=0)


def test_heads_of_one_pitch_in_two_voices_may_stand_on_each_other() -> None:
    of = Score(score(staff(note("c5", accid="s"), note("c5", 8, accid="s") + note("d5", 8))))
    assert compare([label(of, 0)], drawing(of, (0,))) == (Counter(), Counter())


def test_long_music_is_set_smaller_until_it_is_too_long() -> None:
    def music(measures: int) -> Score:
        return Score(score(*[staff(note("c5", 16, accid="s") * 16)] * measures))

    small, large = (engrave_score(music(count), (0,), FULL, seed=0) for count in (3, 1))
    assert np.ptp(ink_rows(small)) < np.ptp(ink_rows(large))
    with pytest.raises(TooWideError):
        engrave_score(music(9), (0,), FULL, seed=0)


def test_music_beyond_the_image_is_refused() -> None:
    with pytest.raises(EngravingError, match="higher"):
        engrave_score(Score(score(staff(note("c9")))), (0,), FULL, seed=0)


def test_staves_of_different_lengths_are_no_grand_staff() -> None:
    of = Score(score(UPPER[0] + LOWER[0], UPPER[1], heads=(G, F)))
    with pytest.raises(EngravingError, match="ends before the other"):
        engrave_score(of, (0, 1), GRAND, seed=0)
    with pytest.raises(MeiError, match="ends before the other"):
        grand_label(of)


def test_a_measure_that_the_encoding_cannot_say_is_not_drawn() -> None:
    with pytest.raises(MeiError, match="a rest beneath a note"):
        engrave_score(Score(score(staff(note("c5"), rest()))), (0,), FULL, seed=0)
