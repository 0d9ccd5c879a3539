"""Staves are found in drawn and distorted pictures, and systems are cut between them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.images import WHITE, Gray
from datasets.pictures.distortion import distort
from datasets.pictures.negatives import negative
from datasets.pictures.staff_lines import Floats, find_staves
from datasets.pictures.systems import INTERTWINED, NOT_TWO_STAVES, SplitError, split_system, two_staves
from tests.corpora.grandstaff import excerpt

WIDTH = 900


def blank(spaces: float, space: float) -> Gray:
    return np.full((round(spaces * space), WIDTH), WHITE, np.uint8)


def draw_staff(image: Gray, top: Floats, space: float, lines: int = 5) -> None:
    """Draw a staff whose top line is at these rows, [width]."""
    columns = np.arange(20, WIDTH - 20)
    for number in range(lines):
        points = np.stack([columns, np.rint(top[columns] + number * space)], axis=1).astype(np.int32)
        cv2.polylines(image, [points.reshape(-1, 1, 2)], False, 0, 1 + round(space / 10))


def draw_notes(image: Gray, row: float, space: float, columns: range, ledger_rows: tuple[float, ...] = ()) -> None:
    """Draw noteheads at a row, with ledger lines."""
    half = round(0.9 * space)
    for column in columns:
        cv2.ellipse(image, (column, round(row)), (round(0.6 * space), round(0.45 * space)), -20, 0, 360, 0, -1)
        for ledger in ledger_rows:
            cv2.line(image, (column - half, round(ledger)), (column + half, round(ledger)), 0, 1)


def level(row: float) -> Floats:
    return np.full(WIDTH, row, np.float32)


def system(space: float = 10) -> Gray:
    """Two empty staves, with the tops 12 spaces apart."""
    image = blank(26, space)
    for top in (4 * space, 16 * space):
        draw_staff(image, level(top), space)
    return image


@settings(max_examples=25, deadline=None)
@given(
    space=st.floats(5, 18),
    slope=st.floats(-0.03, 0.03),
    bend=st.floats(-1, 1),
    distance=st.floats(9, 14),
)
def test_sloping_and_bent_staves_are_found_to_a_quarter_of_a_space(
    space: float, slope: float, bend: float, distance: float
) -> None:
    across = np.linspace(-1, 1, WIDTH)
    margin = 4 * space + abs(slope) * WIDTH / 2
    curve = margin + slope * across * WIDTH / 2 + bend * space * (1 - across**2)
    image = np.full((round(2 * margin + (distance + 5) * space), WIDTH), WHITE, np.uint8)
    tops = [curve.astype(np.float32), (curve + distance * space).astype(np.float32)]
    for top in tops:
        draw_staff(image, top, space)
        draw_notes(image, float(top.mean() + 1.5 * space), space, range(60, WIDTH - 60, 45))
    staves = find_staves(image)
    assert len(staves) == 2
    for staff, top in zip(staves, tops, strict=True):
        seen = slice(max(staff.left, 30), min(staff.right, WIDTH - 30))
        assert staff.right - staff.left > 0.8 * WIDTH
        assert np.abs(staff.line(0) - top)[seen].max() < 0.25 * space
        assert np.abs(staff.line(4) - top - 4 * space)[seen].max() < 0.25 * space


@pytest.mark.parametrize("side", [-1, 5])
def test_a_beam_at_a_lines_distance_is_no_line(side: int) -> None:
    image = system()
    row = 40 + side * 10
    for start in range(60, WIDTH - 100, 100):
        cv2.rectangle(image, (start, row - 2), (start + 80, row + 2), 0, -1)
    upper, _ = two_staves(image)
    assert upper.line(0).mean() == pytest.approx(40, abs=1)


def test_shadow_and_gray_paper_are_no_ink() -> None:
    light = np.linspace(0.45, 0.8, WIDTH)
    image = (system() * light).astype(np.uint8)
    upper, lower = two_staves(image)
    assert upper.line(0).mean() == pytest.approx(40, abs=1)
    assert lower.line(0).mean() == pytest.approx(160, abs=1)


def test_nothing_is_found_on_bare_paper() -> None:
    assert find_staves(blank(20, 10)) == []


def test_documents_without_music_have_no_two_staves() -> None:
    found = [len(find_staves(negative(256, 1280, seed))) for seed in range(40)]
    assert sum(count == 2 for count in found) <= 2


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_a_few_lines_are_no_staff(lines: int) -> None:
    image = blank(20, 10)
    draw_staff(image, level(60), 10, lines)
    assert find_staves(image) == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_picture_without_two_staves_cannot_be_split(count: int) -> None:
    image = blank(14 * max(count, 1), 10)
    for number in range(count):
        draw_staff(image, level(50 + 130 * number), 10)
    with pytest.raises(SplitError, match=NOT_TWO_STAVES):
        split_system(image, least_height=11)


def test_notes_on_ledger_lines_stay_with_their_staff_however_near_the_other_one_is() -> None:
    image = system()
    draw_notes(image, 130, 10, range(100, 400, 40), ledger_rows=(90, 100, 110, 120, 130))  # of the upper staff
    draw_notes(image, 110, 10, range(500, 800, 40), ledger_rows=(150, 140, 130, 120, 110))  # of the lower staff
    upper, lower = split_system(image, least_height=11)
    assert ink_of(upper.image)[:, 80:420].sum() > 2 * ink_of(upper.image)[:, 480:820].sum()
    assert ink_of(lower.image)[:, 480:820].sum() > 2 * ink_of(lower.image)[:, 80:420].sum()


def ink_of(image: Gray) -> Floats:
    """Dark pixels that are no staff line."""
    return np.asarray(image < WHITE // 2, dtype=np.float32) * ((image < WHITE // 2).mean(axis=1) < 0.5)[:, None]


def test_nothing_is_lost_and_nothing_is_seen_twice() -> None:
    image = system()
    draw_notes(image, 105, 10, range(100, 800, 50), ledger_rows=(90, 100))
    draw_notes(image, 20, 10, range(100, 800, 50), ledger_rows=(30, 20))
    upper, lower = split_system(image, least_height=11)
    dark = [int((half < WHITE // 2).sum()) for half in (image, upper.image, lower.image)]
    assert dark[0] == dark[1] + dark[2]


def test_beamed_groups_that_reach_into_each_other_cannot_be_parted() -> None:
    image = system()
    for left, beam, staff in ((200, 140, 70), (260, 100, 170)):
        cv2.rectangle(image, (left, beam), (left + 200, beam + 5), 0, -1)
        for column in range(left, left + 201, 40):
            cv2.line(image, (column, beam), (column, staff), 0, 2)
    with pytest.raises(SplitError, match=INTERTWINED):
        split_system(image, least_height=11)


def test_barlines_from_staff_to_staff_are_cut() -> None:
    image = system()
    for column in range(20, WIDTH, 170):
        cv2.line(image, (column, 40), (column, 200), 0, 2)
    upper, lower = split_system(image, least_height=11)
    assert (upper.space, lower.space) == (pytest.approx(10, abs=0.2), pytest.approx(10, abs=0.2))


@pytest.mark.parametrize(("strength", "of_ten"), [(0.0, 10), (0.3, 10), (0.6, 9), (1.0, 7)])
def test_each_half_of_an_engraved_system_shows_one_staff(strength: float, of_ten: int) -> None:
    parted = 0
    for seed in range(10):
        picture = distort(excerpt(seed).picture(), strength, seed, staves=2)
        try:
            halves = split_system(picture, least_height=11)
        except SplitError:
            continue
        parted += 1
        assert [len(find_staves(half.image)) for half in halves] == [1, 1]
    assert parted >= of_ten


def test_a_half_is_as_high_as_asked_with_the_staff_in_its_middle() -> None:
    for half in split_system(system(), least_height=11.6):
        assert half.image.shape == (116, WIDTH)
        [staff] = find_staves(half.image)
        assert staff.middle.mean() == pytest.approx(58, abs=1.5)


def test_a_half_is_higher_where_notes_hang_far_below() -> None:
    image = np.vstack([system(), blank(6, 10)])
    draw_notes(image, 270, 10, range(100, 800, 50), ledger_rows=(210, 220, 230, 240, 250, 260, 270))
    _, lower = split_system(image, least_height=11.6)
    assert lower.image.shape[0] > 130
    assert (lower.image[-3:] == WHITE).all()
