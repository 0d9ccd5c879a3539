"""One photograph of a staff's image, in numbers: drawn by `datasets.pictures.camera`, turned into pixels by
`datasets.pictures.distortion` on a CPU and by `omr_model.distortion` for a whole batch on a GPU.

What changes slowly over the image (where a pixel comes from, how light it is) is known on a grid and interpolated
between: that makes both renderers quick, and lets the geometric effects add up to one interpolation of the image.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass
class Shot:
    """How one image is photographed; as it is made, in a way that changes nothing.

    The grid is `step` pixels wide. Its points stand in the middle of cells, one of which lies outside the image on
    every side.

    Attributes:
        height, width: of the image, in pixels.
        unit: pixels that count as a length of 1: the height of one staff's image.
        half: half the image's width and height, in units.
        printed: what must stay in sight: left, top, right and bottom of the print, in units from the middle.
        back: the share of the back's ink that is seen, and how far the back is shifted, in pixels along x and y.
        ink: gray level of black ink, as a share of white.
        tone: share of the light that comes back, float32 [grid rows, grid columns].
        curl: how the page bends: an arch, an S and the fall into the gutter of a book, in units, and the gutter's side,
            -1 for the left and 1 for the right.
        view: where the flat page is seen, as a projective map, float64 [3, 3]; 0 is the middle, 1 the unit.
        pixels: rows and columns of the sensor.
        blur: standard deviation, in pixels.
        shake: the streak that a point becomes, in pixels along x and y.
        noise: standard deviation in gray levels; `noise_seed` is the grain's.
        quality: of the JPEG file in percent; None is no such file.
    """

    height: int
    width: int
    unit: float
    printed: tuple[float, float, float, float]
    back: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ink: float = 0.0
    curl: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
    view: npt.NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    half: npt.NDArray[np.float64] = field(init=False)
    tone: Floats = field(init=False)
    pixels: tuple[int, int] = field(init=False)
    blur: float = 0.0
    shake: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    noise_seed: int = 0
    quality: int | None = None

    def __post_init__(self) -> None:
        self.half = np.array([self.width, self.height]) / 2 / self.unit
        self.pixels = (self.height, self.width)
        rows, columns = (-(-length // self.step) + 2 for length in self.pixels)
        self.tone = np.ones((rows, columns), np.float32)

    @property
    def step(self) -> int:
        """Pixels between two points of the grid: 32 of them in the height of a staff's image."""
        return max(1, round(self.unit / 32))

    @property
    def near(self) -> int:
        """Pixels to both sides of one at the edge among which its paper is looked for."""
        return int(self.unit / 8)

    @property
    def moves(self) -> bool:
        """Whether the geometry changes at all."""
        return any(self.curl[:3]) or not np.array_equal(self.view, np.eye(3))

    def grid(self) -> tuple[Floats, Floats]:
        """Where its points are, in units from the middle: x [1, columns] and y [rows, 1]."""
        rows, columns = self.tone.shape
        x = ((np.arange(columns) - 0.5) * self.step) / self.unit - self.half[0]
        y = ((np.arange(rows) - 0.5) * self.step) / self.unit - self.half[1]
        return x[None, :].astype(np.float32), y[:, None].astype(np.float32)

    def sources(self) -> Floats:
        """The pixel, x and y, that is seen at every point of the grid: float32 [2, rows, columns]."""
        x, y = self.grid()
        view = np.linalg.inv(self._fitted()).astype(np.float32)
        depth = view[2, 0] * x + view[2, 1] * y + view[2, 2]
        page_x = (view[0, 0] * x + view[0, 1] * y + view[0, 2]) / depth
        page_y = (view[1, 0] * x + view[1, 1] * y + view[1, 2]) / depth
        printed = np.stack([page_x + self.half[0], page_y - self._bent(page_x) + self.half[1]])
        return np.asarray(printed * self.unit - 0.5, dtype=np.float32)

    def _bent(self, x: Floats) -> Floats:
        """How far the paper is lower than if it were flat, in units."""
        arch, wave, gutter, side = (np.float32(one) for one in self.curl)
        u = np.clip(x / np.float32(self.half[0]), -1.5, 1.5)  # beyond the page the polynomials soon run away
        square, near = u * u, np.maximum(1 + side * u, 0) / 2
        bent: Floats = arch * (2 * square - 1) + wave * u * (4 * square - 3) + gutter * (near * near) ** 2
        return bent

    def _fitted(self) -> npt.NDArray[np.float64]:
        """The view, with all of the print brought back into the image: no ink is cut off."""
        left, top, right, bottom = self.printed
        along = np.linspace(left, right, 33, dtype=np.float32)
        bent = self._bent(along)
        outline = np.stack([np.tile(along, 2), np.concatenate([top + bent, bottom + bent]), np.ones(66)])
        seen = self.view @ outline
        low, high = ((seen[:2] / seen[2]).min(1), (seen[:2] / seen[2]).max(1))
        scale = np.minimum(1, 2 * self.half / np.maximum(high - low, 1e-6))
        shift = np.maximum(0, -self.half - low * scale) + np.minimum(0, self.half - high * scale)
        return np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]], [0, 0, 1]]) @ self.view


def gaussian(sigma: float) -> Floats:
    """Weights of a blur with this standard deviation in pixels, [odd]; a single 1 if there is none."""
    size = 2 * round(3 * sigma) + 1
    return np.asarray(cv2.getGaussianKernel(size, max(sigma, 1e-3), cv2.CV_32F)[:, 0], dtype=np.float32)


def streak(shake: tuple[float, float]) -> Floats:
    """Weights of a straight streak about the middle, [odd, odd]; a single 1 if it has no length."""
    radius = int(np.ceil(max(abs(length) for length in shake) / 2))
    shares = np.linspace(-0.5, 0.5, 8 * radius + 1)
    pixels = np.arange(-radius, radius + 1)
    near_x, near_y = (np.maximum(0, 1 - np.abs(pixels - np.outer(shares, length))) for length in shake)
    weights = near_y.T @ near_x
    return np.asarray(weights / weights.sum(), dtype=np.float32)
