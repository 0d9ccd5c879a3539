"""A chorale of four staves on two."""

from __future__ import annotations

import pytest

from datasets.notation import format_semantic
from datasets.scores.closed_score import closed
from datasets.scores.drawing import engrave_score
from datasets.scores.mei import MeiError
from datasets.scores.score import Score, grand_label, grand_staff, label
from datasets.staff import STAFF_SIZES
from tests.unit.test_mei_voices import F, G, note, score, staff

TENOR = '<clef shape="G" line="2" dis="8" dis.place="below"/>'
PARTS = (
    note("f5", accid="s") + note("d5"),
    note("a4") + note("f4", accid_ges="n"),
    note("d4") + note("d4"),
    note("d3") + note("b2", accid="f"),
)


def chorale(*parts: str, signs: str = "") -> Score:
    staves = "".join(staff(part, n=number) for number, part in enumerate(parts, start=1))
    return Score(score(staves + signs, heads=(G, G, TENOR, F)[: len(parts)]))


def test_two_voices_share_a_staff() -> None:
    assert grand_staff(closed(chorale(*PARTS))) == (0, 1)
    assert format_semantic(grand_label(closed(chorale(*PARTS)))) == (
        "clef-G2 keySignature-CM note-F#5_quarter|note-A4_quarter note-D5_quarter|note-F4_quarter barline "
        "clef-F4 keySignature-CM note-D4_quarter|note-D3_quarter note-D4_quarter|note-Bb2_quarter barline"
    )


def test_what_one_voice_altered_another_cancels_on_the_same_staff() -> None:
    parts = (note("g4", accid="s") + note("c5"), note("e4") + note("g4", accid_ges="n"), *PARTS[2:])
    assert "note-G#4_quarter|note-E4_quarter note-C5_quarter|note-GN4_quarter" in format_semantic(
        label(closed(chorale(*parts)), 0)
    )


def test_voices_with_other_units_of_time_still_meet() -> None:
    sixteenths = "".join(note("c5", 8, dur_ppq="6") for _ in range(4))
    parts = (sixteenths, note("e4", 2), *PARTS[2:])
    of = chorale(*parts)
    (soprano, *_) = of.root.iter("staffDef")
    soprano.set("ppq", "12")
    for other in list(of.root.iter("staffDef"))[1:]:
        other.set("ppq", "5")
    semantic = format_semantic(label(closed(of), 0))
    assert "note-C5_eighth|note-E4_half note-C5_eighth note-C5_eighth note-C5_eighth barline" in semantic


def test_a_fermata_stands_once_a_staff() -> None:
    named = [part.replace("<note", f'<note xml:id="v{number}"', 1) for number, part in enumerate(PARTS)]
    signs = "".join(f'<fermata staff="{number + 1}" startid="#v{number}"/>' for number in range(4))
    of = closed(chorale(*named, signs=signs))
    assert format_semantic(grand_label(of)).count("fermata") == 2
    assert engrave_score(of, (0, 1), STAFF_SIZES["grand"], seed=0).shape == (256, 1280)


def test_three_parts_are_no_chorale() -> None:
    with pytest.raises(MeiError, match="not in four parts"):
        closed(chorale(*PARTS[:3]))


def test_a_single_staff_is_no_grand_staff() -> None:
    with pytest.raises(MeiError, match="no grand staff"):
        grand_staff(chorale(PARTS[0]))
