"""A small GrandStaff: pieces of two excerpts, one of them transposed, as **kern with the pictures of both kinds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from datasets.images import WHITE, Gray
from datasets.pictures.distortion import distort
from datasets.scores.drawing import engrave_score
from datasets.scores.score import read_score
from datasets.staff import STAFF_SIZES

_KEYS = {"*k[]": "CM", "*k[f#]": "GM", "*k[b-]": "FM"}
_LETTERS = "CDEGA"  # the same in all these keys
_WHITE_ABOVE = 20  # pixels around what is printed


@dataclass(frozen=True)
class Excerpt:
    """An excerpt: its score, and the labels of its staves."""

    kern: bytes
    upper: str
    lower: str

    def picture(self) -> Gray:
        """Black on white, [height, width]."""
        image = engrave_score(read_score(self.kern, ".krn"), (0, 1), STAFF_SIZES["grand"], seed=len(self.kern))
        rows, columns = (np.flatnonzero((image < WHITE).any(axis=axis)) for axis in (1, 0))
        ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return np.pad(ink, _WHITE_ABOVE, constant_values=WHITE)

    def jpeg(self, strength: float = 0.4) -> bytes:
        """As it was published; distorted unless `strength` is 0."""
        return jpeg(distort(self.picture(), strength, seed=len(self.kern), staves=2))


def excerpt(seed: int) -> Excerpt:
    """The same excerpt for the same seed; its last bar has two voices on the upper staff."""
    rng = np.random.default_rng(seed)
    key = str(rng.choice(list(_KEYS)))
    kern = ["**kern\t**kern", "*clefF4\t*clefG2", f"{key}\t{key}", "*M2/4\t*M2/4"]
    opening = f"keySignature-{_KEYS[key]} timeSignature-2/4"
    upper, lower = [f"clef-G2 {opening}"], [f"clef-F4 {opening}"]
    for high, low in rng.integers(len(_LETTERS), size=(2, 2)):
        kern.append(f"4{_LETTERS[low]}\t4{_LETTERS[high].lower()}")
        upper.append(f"note-{_LETTERS[high]}4_quarter")
        lower.append(f"note-{_LETTERS[low]}3_quarter")
    kern.append("=\t=")
    top, bass = (str(_LETTERS[step]) for step in rng.integers(len(_LETTERS), size=2))
    kern += ["*\t*^", f"4{bass * 2}\t2{top.lower() * 2}\t4c", "4r\t.\t4d", "*\t*v\t*v", "=\t=", "*-\t*-"]
    upper.append(f"barline note-{top}5_half|note-C4_quarter note-D4_quarter barline")
    lower.append(f"barline note-{bass}2_quarter rest-quarter barline")
    return Excerpt("\n".join(kern).encode() + b"\n", " ".join(upper), " ".join(lower))


def jpeg(image: Gray) -> bytes:
    """A picture as a file."""
    return bytes(cv2.imencode(".jpg", image)[1])


def make(root: Path, count: int) -> None:
    """So many excerpts, two of each piece: the first an original."""
    for number in range(count):
        folder = root / "composer" / "preludes" / f"prelude{number // 2}"
        name = f"{('original', 'min3_up')[number % 2]}_m-0-2"
        drawn = excerpt(number)
        add_to(folder, name, drawn.kern, drawn.jpeg())
        (folder / f"{name}.jpg").write_bytes(drawn.jpeg(strength=0))


def add(root: Path, name: str, picture: bytes | None, label: bytes | None) -> None:
    """An excerpt of that name of one more piece: a distorted picture and a score."""
    add_to(root / "composer" / "sonatas" / "sonata", f"{name}_m-4-8", label, picture)


def add_to(folder: Path, name: str, kern: bytes | None, distorted: bytes | None) -> None:
    """An excerpt of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    if kern is not None:
        (folder / f"{name}.krn").write_bytes(kern)
    if distorted is not None:
        (folder / f"{name}_distorted.jpg").write_bytes(distorted)
