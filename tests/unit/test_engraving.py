"""Drawing a label: the picture shows it, all of it, and nothing else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from datasets.images import WHITE
from datasets.notation import parse
from datasets.scores import engraving
from datasets.scores.engraving import EngravingError, TooWideError, Typography, draw, engrave
from datasets.scores.ink import drawn_ink, expected_ink
from datasets.scores.measures import StaffRun, staff_step
from datasets.seeds import seed_from
from datasets.staff import STAFF_SIZES

SHORT, FULL = STAFF_SIZES["short"], STAFF_SIZES["full"]
TYPOGRAPHY = Typography.seeded(0, SHORT)


def staff(body: str, head: str = "clef-G2 keySignature-CM", beams: tuple[tuple[int, int], ...] = ()) -> StaffRun:
    return StaffRun(tuple(parse(f"{head} {body} barline")), beams)


@pytest.mark.parametrize("size", STAFF_SIZES.values(), ids=lambda size: size.name)
def test_an_image_has_the_size_ink_and_a_white_frame(size: engraving.StaffSize) -> None:
    image = engrave(staff("note-G4_quarter note-A4_quarter"), size, seed=1)
    assert image.shape == (size.height, size.width)
    assert image.dtype == np.uint8
    assert image.min() < 60
    frame = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert (frame == WHITE).all()


def test_the_seed_decides_the_image() -> None:
    run = staff("note-G4_quarter")
    assert (engrave(run, SHORT, seed=3) == engrave(run, SHORT, seed=3)).all()
    assert (engrave(run, SHORT, seed=3) != engrave(run, SHORT, seed=4)).any()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", STAFF_SIZES.values(), ids=lambda size: size.name)
def test_the_scale_is_the_same_for_high_and_low_long_and_short(size: engraving.StaffSize, seed: int) -> None:
    for body in ("note-G4_half", "note-A3_half note-B4_half", "note-C6_half"):
        image = engrave(staff(body), size, seed)
        right_of_notes = np.flatnonzero((image < WHITE).any(axis=0))[-1] - round(size.staff_space / 3)
        dark = np.flatnonzero(image[:, right_of_notes] < 230)
        space = (dark[-1] - dark[0]) / 4
        assert space == pytest.approx(Typography.seeded(seed, size).staff_space, abs=0.55)


@pytest.mark.parametrize(
    "run",
    [
        staff("note-G4_whole", head="clef-F4 keySignature-CbM timeSignature-12/8"),
        staff("note-G#4_half. tie note-G4_quarter", head="clef-C3 keySignature-EM timeSignature-C"),
        staff("note-G4_double_whole", head="clef-G2 keySignature-C#M timeSignature-C/"),
        staff("note-E##5_eighth. note-FN4_sixteenth", beams=((2, 3),)),
        staff("note-Ebb5_eighth.. note-F4_thirty_second note-A4_sixty_fourth"),
        staff("gracenote-A4_eighth note-B4_eighth gracenote-A4_sixteenth note-B4_eighth", beams=((3, 5),)),
        staff("gracenote-A4_sixteenth gracenote-B4_sixteenth note-C5_half_fermata", beams=((2, 3),)),
        staff("note-E5_half.|note-C#5_half.|note-A4_half. note-D5_eighth|note-C5_eighth"),
        staff("rest-half. rest-quarter rest-eighth.. rest-sixteenth rest-thirty_second"),
        staff("rest-whole barline multirest-12"),
        staff("note-G4_quadruple_whole|note-E4_quadruple_whole rest-quadruple_whole"),
        staff("note-G4_quarter barline keySignature-CM note-G4_quarter", head="clef-G2 keySignature-DM"),
        staff("note-G4_quarter barline keySignature-DM timeSignature-3/4 clef-F4 note-G3_quarter"),
        staff("note-G4_quarter tie barline note-G4_quarter"),
    ],
    ids=lambda run: " ".join(map(str, run.symbols[:6])),
)
@pytest.mark.parametrize("font", engraving.FONTS)
def test_every_font_draws_what_the_label_says(run: StaffRun, font: str) -> None:
    drawing = ET.fromstring(draw(run, replace(TYPOGRAPHY, font=font)))
    assert drawn_ink(drawing) == expected_ink(run)


@pytest.mark.parametrize(("clef", "bottom_line"), [("G2", "E4"), ("F4", "G2"), ("C3", "F3")])
def test_note_heads_stand_where_their_pitch_says(clef: str, bottom_line: str) -> None:
    pitches = ["E4", "G4", "C4", "D3", "A4", "F3"]
    run = staff(" ".join(f"note-{pitch}_quarter" for pitch in pitches), head=f"clef-{clef} keySignature-CM")
    drawing = draw(run, TYPOGRAPHY)
    lines = [int(y) for y in re.findall(r'<path d="M0 (\d+) L', drawing)[:5]]
    heads = [int(y) for y in re.findall(r'"#E0A4[^"]*" transform="translate\(-?\d+, (-?\d+)\)', drawing)]
    half_space = (lines[4] - lines[0]) / 8
    steps = [staff_step(pitch) - staff_step(bottom_line) for pitch in pitches]
    assert heads == [lines[4] - half_space * step for step in steps]


def test_a_drawing_that_is_not_the_label_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = draw(staff("note-G#4_quarter."), TYPOGRAPHY)
    monkeypatch.setattr(engraving, "draw", lambda *_: drawing)
    with pytest.raises(EngravingError, match="no accid E261, unexpected accid E262, unexpected dots"):
        engrave(staff("note-GN4_quarter"), SHORT, seed=0)


def test_too_much_music_says_how_many_measures_fit() -> None:
    measure = "note-G#4_quarter note-A4_quarter note-B4_quarter"
    with pytest.raises(TooWideError, match="wider") as caught:
        engrave(staff(" barline ".join([measure] * 6)), SHORT, seed=0)
    assert 1 <= caught.value.measures < 6
    engrave(staff(" barline ".join([measure] * caught.value.measures)), SHORT, seed=0)


def test_music_too_high_for_the_image_is_rejected() -> None:
    with pytest.raises(EngravingError, match="higher"):
        engrave(staff("note-G7_quarter"), SHORT, seed=0)


def test_a_high_note_moves_the_staff_instead_of_being_cut_off() -> None:
    low, high = (engrave(staff(f"note-{pitch}_whole"), SHORT, seed=0) for pitch in ("G4", "F6"))
    assert np.flatnonzero((high < WHITE).any(axis=1))[-1] > np.flatnonzero((low < WHITE).any(axis=1))[-1]


def test_seeds_of_parts_are_stable() -> None:
    assert seed_from(0, "a") == 5690829181965289459
    assert len({seed_from(0, "a"), seed_from(1, "a"), seed_from(1, "b")}) == 3
