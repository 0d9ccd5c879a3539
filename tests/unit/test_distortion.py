"""Camera effects: repeatable, nothing at strength 0, more with every step, and no ink lost."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.command_line import main
from datasets.distortion_sheet import SheetConfig, run
from datasets.images import WHITE, Gray, encode_png, read_gray
from datasets.pictures import camera
from datasets.pictures.camera import ALL_EFFECTS, EFFECTS, draw_shot
from datasets.pictures.distortion import distort
from datasets.pictures.shot import Shot, gaussian, streak
from datasets.shards import PreparedCorpus

STRENGTHS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
SEEDS = range(8)
GEOMETRY = ("page_curl", "rotation", "perspective")
SHAPES = [((64, 256), 1), ((128, 1280), 1), ((256, 1280), 2)]


@pytest.fixture(scope="module")
def staves(corpus: PreparedCorpus) -> list[Gray]:
    return [corpus.staves("train").image(index) for index in range(4)]


def difference(one: Gray, other: Gray) -> float:
    """Mean absolute difference of the gray levels."""
    return float(np.abs(one.astype(int) - other).mean())


def blank(height: int, width: int, gray: int = WHITE) -> Gray:
    return np.full((height, width), gray, np.uint8)


@given(
    height=st.integers(8, 140),
    width=st.integers(8, 300),
    strength=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
    effects=st.sets(st.sampled_from(ALL_EFFECTS)),
)
def test_any_image_keeps_its_shape_and_is_not_changed_itself(
    height: int, width: int, strength: float, seed: int, effects: set[str]
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    before = image.copy()
    distorted = distort(image, strength, seed, effects)
    assert distorted.shape == (height, width)
    assert distorted.dtype == np.uint8
    assert np.array_equal(image, before)
    assert np.array_equal(distorted, distort(image, strength, seed, effects))


def test_strength_zero_changes_nothing(staves: list[Gray]) -> None:
    assert all(np.array_equal(distort(image, 0.0, seed), image) for image in staves for seed in SEEDS)


def test_no_effect_changes_nothing(staves: list[Gray]) -> None:
    assert all(np.array_equal(distort(image, 1.0, seed, ()), image) for image in staves for seed in SEEDS)


def test_every_seed_distorts_in_its_own_way(staves: list[Gray]) -> None:
    assert len({distort(staves[0], 0.5, seed).tobytes() for seed in SEEDS}) == len(SEEDS)


def test_a_stronger_distortion_changes_more(staves: list[Gray]) -> None:
    changes = [
        np.mean([difference(distort(image, strength, seed), image) for image in staves for seed in SEEDS])
        for strength in STRENGTHS
    ]
    assert all(less + 1 < more for less, more in itertools.pairwise(changes)), changes


@pytest.mark.parametrize("name", EFFECTS)
def test_every_effect_grows_with_the_strength(name: str, staves: list[Gray]) -> None:
    changes = [
        np.mean([difference(distort(image, strength, seed, (name,)), image) for image in staves for seed in SEEDS])
        for strength in (0.3, 0.6, 1.0)
    ]
    assert changes == sorted(changes)
    assert changes[-1] > 1.2 * changes[0] > 0


@pytest.mark.parametrize("strength", [0.2, 0.6])
def test_a_stronger_shot_is_the_same_one_further_on(strength: float, staves: list[Gray]) -> None:
    for seed in SEEDS:
        weak, full = (draw_shot(staves[0], one, seed) for one in (strength, 1.0))
        assert weak.back[1:] == full.back[1:]
        assert weak.noise_seed == full.noise_seed
        for name in ("ink", "noise", "shake", "curl"):
            scaled = strength * np.array(getattr(full, name))
            fixed = [3] if name == "curl" else []  # which end falls into the gutter
            assert np.allclose(np.delete(getattr(weak, name), fixed), np.delete(scaled, fixed)), name


# Geometry -------------------------------------------------------------------------------------------------


def test_the_paper_around_a_turned_page_goes_on(staves: list[Gray]) -> None:
    for seed in SEEDS:
        seen = distort(staves[0], 1.0, seed, GEOMETRY)
        for edge in (seen[0], seen[-1], seen[:, 0], seen[:, -1]):
            assert edge.min() > WHITE // 2


def test_gray_paper_goes_on_in_gray_and_cut_lines_do_not_smear() -> None:
    image = blank(64, 256, 170)
    image[20:44:6] = 10  # a staff that is cut off at both ends
    image[:, 100:103] = 10
    for seed in SEEDS:
        seen = distort(image, 1.0, seed, GEOMETRY)
        assert seen.max() == 170
        assert (seen > 140).mean() > (image > 140).mean() - 0.05


@pytest.mark.parametrize(("shape", "staves_in_it"), SHAPES)
def test_a_turned_page_keeps_its_corners_in_sight(shape: tuple[int, int], staves_in_it: int) -> None:
    height, width = shape
    image = blank(height, width)
    size = height // 8
    for top, left in itertools.product((0, height - size), (0, width - size)):
        image[top : top + size, left : left + size] = 0
    for seed in range(20):
        seen = distort(image, 1.0, seed, GEOMETRY, staves_in_it)
        halves = (seen[: height // 2], seen[height // 2 :])
        for part in (quarter for half in halves for quarter in np.split(half, 2, axis=1)):
            ink = (WHITE - part.astype(float)).sum() / WHITE
            assert ink > 0.5 * size * size  # a little smaller, but not cut off


def test_a_staff_with_white_around_it_is_moved_and_not_squeezed() -> None:
    image = blank(128, 1280)
    image[50:80, 40:1200] = 0
    for seed in range(20):
        seen = distort(image, 1.0, seed, ("page_curl", "rotation"))
        assert 0.97 < (WHITE - seen.astype(float)).sum() / (WHITE * 30 * 1160) < 1.03


def test_geometry_is_a_share_of_the_height() -> None:
    """A mark moves by the same share of the height in a picture of twice the size."""
    moved = []
    for height in (64, 128):
        image = blank(height, 4 * height)
        image[height // 2 : height // 2 + height // 16, height // 4 : height // 4 + height // 16] = 0
        seen = distort(image, 1.0, 3, GEOMETRY)
        rows, columns = np.nonzero(seen < WHITE // 2)
        moved.append(np.array([rows.mean(), columns.mean()]) / height)
    assert np.abs(moved[0] - moved[1]).max() < 0.02
    assert np.abs(moved[1] - [0.53, 0.28]).max() > 0.02


def test_the_staves_of_a_grand_staff_are_blurred_like_a_single_one() -> None:
    single, grand = draw_shot(blank(128, 1280), 1.0, 0), draw_shot(blank(256, 1280), 1.0, 0, staves=2)
    assert (single.blur, single.shake, single.step) == (grand.blur, grand.shake, grand.step)


# Effects alone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left_out", EFFECTS)
def test_an_effect_that_is_left_out_changes_none_of_the_others(
    left_out: str, staves: list[Gray], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[float]] = {}

    def recorded(name: str) -> camera.Effect:
        return lambda _shot, _strength, rng: seen.setdefault(name, []).append(rng.random())

    for name in EFFECTS:
        monkeypatch.setitem(EFFECTS, name, recorded(name))
    draw_shot(staves[0], 0.5, seed=1)
    draw_shot(staves[0], 0.5, seed=1, effects=[name for name in reversed(ALL_EFFECTS) if name != left_out])
    assert all(len(drawn) == 2 and drawn[0] == drawn[1] for name, drawn in seen.items() if name != left_out)
    assert len(seen[left_out]) == 1
    assert len({drawn[0] for drawn in seen.values()}) == len(seen)


def test_what_shines_through_is_mirrored_and_pale() -> None:
    image = blank(64, 256)
    image[24:40, 10:26] = 0
    behind = [distort(image, 1.0, seed, ("show_through",)) for seed in range(20)]
    centres = [np.nonzero((one < 250) & (image == WHITE)) for one in behind]
    assert 5 < sum(len(rows) > 0 for rows, _ in centres) < 20  # not every page is printed on both sides
    assert all(columns.mean() > 150 for rows, columns in centres if len(rows))
    assert min(one[image == WHITE].min() for one in behind) > 150


def test_at_full_strength_ink_is_still_darker_than_the_paper_around_it(staves: list[Gray]) -> None:
    still = [name for name in ALL_EFFECTS if name not in GEOMETRY]
    for image, seed in itertools.product(staves, range(20)):
        seen = distort(image, 1.0, seed, still).astype(float)
        for left in range(0, 160, 32):
            stretch, printed = seen[:, left : left + 32], image[:, left : left + 32]
            assert stretch[printed == WHITE].mean() - stretch[printed < 100].mean() > 15


def test_the_noise_has_the_deviation_that_was_drawn() -> None:
    image = blank(128, 1280, 128)
    for seed in range(4):
        noise = distort(image, 1.0, seed, ("noise",)).astype(float) - 128
        assert abs(noise.mean()) < 0.1
        assert noise.std() == pytest.approx(draw_shot(image, 1.0, seed, ("noise",)).noise, rel=0.02)


@given(sigma=st.floats(0, 5), x=st.floats(-6, 6), y=st.floats(-6, 6))
def test_weights_of_a_blur_are_symmetric_and_add_up_to_one(sigma: float, x: float, y: float) -> None:
    for weights in (gaussian(sigma), streak((x, y))):
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        assert np.allclose(weights, np.flip(weights), atol=1e-6)
        assert all(size % 2 for size in weights.shape)


def test_a_new_shot_moves_nothing() -> None:
    shot = Shot(64, 256, 64.0, (0.0, 0.0, 0.0, 0.0))
    x, y = shot.sources()
    assert not shot.moves
    assert np.allclose(x[0], (np.arange(x.shape[1]) - 0.5) * shot.step - 0.5, atol=1e-3)
    assert np.allclose(y[:, 0], (np.arange(y.shape[0]) - 0.5) * shot.step - 0.5, atol=1e-3)


# The sheet ------------------------------------------------------------------------------------------------


def test_a_sheet_shows_every_effect_beside_photographs(
    tmp_path: Path, staves: list[Gray], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "piece").mkdir()
    (tmp_path / "piece" / "staff-1.png").write_bytes(encode_png(staves[0]))
    plain, beside = str(tmp_path / "plain.png"), str(tmp_path / "beside.png")
    run(SheetConfig(staff="short", to=plain))
    run(SheetConfig(staff="short", to=beside, photographs=str(tmp_path / "piece")))
    assert "beside 1 photographs" in capsys.readouterr().out
    one, other = read_gray(tmp_path / "plain.png"), read_gray(tmp_path / "beside.png")
    assert one.shape[0] == other.shape[0] > len(EFFECTS) * 3 * 64
    assert 2 * one.shape[1] == other.shape[1]


@pytest.mark.parametrize("words", [["staff=grand"], ["photographs=/no/such/folder"], ["to=sheet.gif"]])
def test_a_sheet_refuses_what_it_cannot_show(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(run, SheetConfig(), words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
