"""Images without music: repeatable, of many kinds, and never a staff."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.images import WHITE, Gray
from datasets.pictures.distortion import distort
from datasets.pictures.examples import PICTURES, package_picture
from datasets.pictures.negatives import KINDS, negative
from datasets.pictures.typesetting import FONTS, words, write
from datasets.shards import PreparedCorpus

HEIGHT, WIDTH = 64, 256


def long_lines(image: Gray) -> list[int]:
    """Rows of thin dark lines that go through a fifth of the image or more, with few gaps: notes, but not letters."""
    levels = image.astype(int)
    above, below = np.roll(levels, 3, axis=0), np.roll(levels, -3, axis=0)
    above[:3], below[-3:] = WHITE, WHITE
    dark = levels < np.minimum(above, below) - 30
    rows = [row for row, line in enumerate(dark) if line.mean() > 0.2 and unbroken(line) > 0.6]
    return [row for row in rows if row - 1 not in rows]


def unbroken(line: npt.NDArray[np.bool_]) -> float:
    """How much of a line is dark, from its first to its last dark pixel."""
    places = np.flatnonzero(line)
    return len(places) / int(places[-1] - places[0] + 1)


def five_equidistant(rows: list[int]) -> bool:
    return any(
        max(np.diff(rows[start : start + 5])) - min(np.diff(rows[start : start + 5])) <= 2
        for start in range(len(rows) - 4)
    )


@given(height=st.integers(16, 140), width=st.integers(16, 400), seed=st.integers(0, 2**63 - 1))
def test_any_size_can_be_had_and_a_seed_repeats_it(height: int, width: int, seed: int) -> None:
    image = negative(height, width, seed)
    assert image.shape == (height, width)
    assert image.dtype == np.uint8
    assert np.array_equal(image, negative(height, width, seed))


def test_every_seed_draws_another_image() -> None:
    assert len({negative(HEIGHT, WIDTH, seed).tobytes() for seed in range(200)}) == 200


def test_every_kind_comes_about_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    for name in KINDS:
        monkeypatch.setitem(KINDS, name, lambda image, rng, name=name: drawn.append(name))  # noqa: ARG005
    for seed in range(100 * len(KINDS)):
        negative(HEIGHT, WIDTH, seed)
    assert set(drawn) == set(KINDS)
    assert all(70 < drawn.count(name) < 130 for name in KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_varied(name: str) -> None:
    images = []
    for seed in range(20):
        image = np.full((HEIGHT, WIDTH), WHITE, np.uint8)
        KINDS[name](image, np.random.default_rng(seed))
        images.append(image)
    assert len({image.tobytes() for image in images}) == 20
    assert np.std([image.mean() for image in images]) > 1


def test_some_are_as_white_as_an_engraved_page_and_some_are_not() -> None:
    papers = [np.bincount(negative(HEIGHT, WIDTH, seed).ravel(), minlength=256).argmax() for seed in range(200)]
    white = sum(paper == WHITE for paper in papers)
    assert 50 < white < 150


def test_the_test_would_see_a_staff(corpus: PreparedCorpus) -> None:
    staves = corpus.staves("train")
    images = [staves.image(index) for index in range(20)]
    found = [five_equidistant(long_lines(image)) for image in images]
    assert sum(found) >= 18
    assert five_equidistant(long_lines(distort(images[found.index(True)], 0.05, seed=0)))


@pytest.mark.parametrize("size", [(64, 256), (128, 1280)])
def test_there_is_no_staff(size: tuple[int, int]) -> None:
    for seed in range(200):
        assert not five_equidistant(long_lines(negative(*size, seed))), seed


def test_ruled_lines_are_seen_and_fewer_than_five() -> None:
    counts = []
    for seed in range(100):
        image = np.full((HEIGHT, WIDTH), WHITE, np.uint8)
        KINDS["table"](image, np.random.default_rng(seed))
        counts.append(len(long_lines(image)))
    assert max(counts) <= 4
    assert len(set(counts)) > 2


def test_the_packages_pictures_are_there_and_have_contrast() -> None:
    for name in PICTURES:
        picture = package_picture(name)
        assert min(picture.shape) > 80
        assert np.std(picture) > 20


@given(letters=st.integers(0, 200), seed=st.integers(0, 1000))
def test_text_is_about_as_long_as_asked_for(letters: int, seed: int) -> None:
    text = words(letters, np.random.default_rng(seed))
    assert 0 < len(text) <= max(1, letters)
    assert len(text) >= 0.4 * letters - 10


@pytest.mark.parametrize("font", FONTS)
def test_every_font_prints(font: str) -> None:
    image = np.full((40, 200), WHITE, np.uint8)
    write(image, [((5, 30), "Notes")], font, 24, 10)
    assert 0.02 < (image < 128).mean() < 0.5
