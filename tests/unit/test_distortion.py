"""Camera effects: repeatable, nothing at strength 0, more with every step, and no ink lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.distortion import EFFECTS, distort
from datasets.images import WHITE, Gray
from datasets.shards import PreparedCorpus

STRENGTHS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
SEEDS = range(8)


@pytest.fixture(scope="module")
def staves(corpus: PreparedCorpus) -> list[Gray]:
    return [corpus.staves("train").image(index) for index in range(4)]


def difference(one: Gray, other: Gray) -> float:
    """Mean absolute difference of the gray levels."""
    return float(np.abs(one.astype(int) - other).mean())


@given(
    height=st.integers(8, 140),
    width=st.integers(8, 300),
    strength=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_image_keeps_its_shape_and_is_not_changed_itself(
    height: int, width: int, strength: float, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    before = image.copy()
    distorted = distort(image, strength, seed)
    assert distorted.shape == (height, width)
    assert distorted.dtype == np.uint8
    assert np.array_equal(image, before)
    assert np.array_equal(distorted, distort(image, strength, seed))


def test_strength_zero_changes_nothing(staves: list[Gray]) -> None:
    assert all(np.array_equal(distort(image, 0.0, seed), image) for image in staves for seed in SEEDS)


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
    effect = EFFECTS[name]
    changes = [
        np.mean(
            [difference(effect(image, s, np.random.default_rng(seed)), image) for image in staves for seed in SEEDS]
        )
        for s in (0.3, 0.6, 1.0)
    ]
    assert changes == sorted(changes)
    assert changes[-1] > 1.2 * changes[0] > 0


def test_the_paper_around_a_tilted_page_is_white(staves: list[Gray]) -> None:
    for seed in SEEDS:
        seen = EFFECTS["viewpoint"](staves[0], 1.0, np.random.default_rng(seed))
        for edge in (seen[0], seen[-1], seen[:, 0], seen[:, -1]):
            assert edge.min() > WHITE // 2


@pytest.mark.parametrize("shape", [(64, 256), (128, 1280)])
def test_a_turned_page_keeps_its_corners_in_sight(shape: tuple[int, int]) -> None:
    height, width = shape
    image = np.full(shape, WHITE, np.uint8)
    size = height // 8
    corners = [(top, left) for top in (0, height - size) for left in (0, width - size)]
    for top, left in corners:
        image[top : top + size, left : left + size] = 0
    for seed in range(20):
        seen = EFFECTS["viewpoint"](image, 1.0, np.random.default_rng(seed))
        halves = (seen[: height // 2], seen[height // 2 :])
        for part in (quarter for half in halves for quarter in np.split(half, 2, axis=1)):
            ink = (WHITE - part.astype(float)).sum() / WHITE
            assert ink > 0.6 * size * size  # a little smaller, but not cut off


def test_geometry_is_a_share_of_the_height() -> None:
    """A mark moves by the same share of the height in a picture of twice the size."""
    moved = []
    for height in (64, 128):
        image = np.full((height, 4 * height), WHITE, np.uint8)
        image[height // 2 : height // 2 + height // 16, height // 4 : height // 4 + height // 16] = 0
        seen = EFFECTS["viewpoint"](image, 1.0, np.random.default_rng(3))
        rows, columns = np.nonzero(seen < WHITE // 2)
        moved.append(np.array([rows.mean(), columns.mean()]) / height)
    assert np.abs(moved[0] - moved[1]).max() < 0.02
    assert np.abs(moved[1] - [0.53, 0.28]).max() > 0.02


@pytest.mark.parametrize("left_out", EFFECTS)
def test_an_effect_that_is_left_out_changes_none_of_the_others(
    left_out: str, staves: list[Gray], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[float]] = {}

    def recorded(name: str) -> object:
        def effect(image: Gray, _: float, rng: np.random.Generator) -> Gray:
            seen.setdefault(name, []).append(rng.random())
            return image

        return effect

    for name in EFFECTS:
        monkeypatch.setitem(EFFECTS, name, recorded(name))
    distort(staves[0], 0.5, seed=1)
    monkeypatch.delitem(EFFECTS, left_out)
    distort(staves[0], 0.5, seed=1)
    assert all(len(drawn) == 2 and drawn[0] == drawn[1] for name, drawn in seen.items() if name != left_out)
    assert len({drawn[0] for drawn in seen.values()}) == len(seen)
