"""A batch as cameras might have seen it: the shots of `datasets.pictures.camera`, made by torch where the batch is.

The numbers of a shot are drawn on the CPU, by the code that `datasets.pictures.distortion` uses, so both show the same
picture for a seed. Only the noise is another one, drawn on the device by a generator for every staff: on one device the
result depends on the seeds of the draws, and on nothing else in the batch.

Letters in tensor names: B staves, H and W pixels, R and C rows and columns of the shots' grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.images import WHITE
from datasets.pictures.shot import Floats, Shot, gaussian, streak

_BLOCK = 8  # JPEG works on squares of so many pixels

# JPEG's example table for luminance (ITU-T T.81, table K.1), as libjpeg and OpenCV scale it by the quality.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


@dataclass(frozen=True)
class Shots:
    """The shots of a batch, as tensors.

    Attributes:
        step: pixels between two points of the grid.
        near: pixels to both sides among which the paper at the edge is looked for.
        noise_seeds: of each staff's grain. They stay on the CPU, where generators are seeded.
        sources: the pixel, x and y, that is seen at a point of the grid, [B, 2, R, C].
        tone: share of the light that comes back, [B, R, C].
        back: opacity, and shift along x and y, [B, 3].
        ink, noise: [B].
        pixels: rows and columns of the sensor, int64 [B, 2].
        lens, shake: weights of the blur, [B, K] and [B, L, L].
        table: JPEG's steps; 0 where the staff is not compressed, [B, 8, 8].
    """

    step: int
    near: int
    noise_seeds: tuple[int, ...]
    sources: Tensor
    tone: Tensor
    back: Tensor
    ink: Tensor
    pixels: Tensor
    lens: Tensor
    shake: Tensor
    noise: Tensor
    table: Tensor

    @classmethod
    def stacked(cls, shots: Sequence[Shot]) -> Shots:
        """The shots of images of one size."""
        lenses, shakes = [gaussian(shot.blur) for shot in shots], [streak(shot.shake) for shot in shots]
        return cls(
            step=shots[0].step,
            near=shots[0].near,
            noise_seeds=tuple(shot.noise_seed for shot in shots),
            sources=torch.from_numpy(np.stack([shot.sources() for shot in shots])),
            tone=torch.from_numpy(np.stack([shot.tone for shot in shots])),
            back=torch.tensor([shot.back for shot in shots]),
            ink=torch.tensor([shot.ink for shot in shots]),
            pixels=torch.tensor([shot.pixels for shot in shots]),
            lens=_padded(lenses),
            shake=_padded(shakes),
            noise=torch.tensor([shot.noise for shot in shots]),
            table=torch.from_numpy(np.stack([_steps(shot.quality) for shot in shots])),
        )

    def to(self, device: str, non_blocking: bool = False) -> Shots:
        """The same shots on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Shots:
        """Called by a batch that is to be pinned."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Shots:
        changed: dict[str, Any] = {name: change(one) for name, one in vars(self).items() if isinstance(one, Tensor)}
        return replace(self, **changed)


def photograph(image_B1HW: Tensor, shots: Shots) -> Tensor:
    """The images as their shots show them: uint8 [B, 1, H, W], the shots on the same device."""
    image = image_B1HW.float()
    tone_B1RC = shots.tone[:, None] * (1 - _back(image, shots))
    image = _moved(image, shots)
    ink = _of_each(shots.ink)
    image = image * (1 - ink) + WHITE * ink
    image = image * _whole(tone_B1RC, shots.step, image).clamp(0, 1)
    image = _resampled(image, shots.pixels[:, 1])
    image = _resampled(image.mT, shots.pixels[:, 0]).mT
    for weights in (shots.lens[:, None, :], shots.lens[:, :, None], shots.shake):
        image = _filtered(image, weights)
    image = image + _of_each(shots.noise) * _grain(image, shots.noise_seeds)
    return _compressed(image.round().clamp(0, WHITE), shots.table).round().clamp(0, WHITE).to(torch.uint8)


def _back(image: Tensor, shots: Shots) -> Tensor:
    """What the ink on the back swallows, [B, 1, R, C]; the grid alone makes it soft."""
    height, width = image.shape[-2:]
    opacity, along, across = shots.back.unbind(-1)
    ink = F.adaptive_avg_pool2d(WHITE - image, (-(-height // shots.step), -(-width // shots.step)))
    x, y = shots.sources.unbind(1)
    mirrored = torch.stack([width - 1 + _of_each(along, 3) - x, _of_each(across, 3) + y], dim=1)
    return _sampled(ink, (mirrored + 0.5) / shots.step - 0.5, "zeros") * (_of_each(opacity) / WHITE)


def _moved(image: Tensor, shots: Shots) -> Tensor:
    """Every pixel from its source; beyond the image its paper goes on."""
    sources = _whole(shots.sources, shots.step, image)
    return _sampled(_framed(image, shots.near), sources + 1, "border")


def _framed(image: Tensor, near: int) -> Tensor:
    """The images with a frame of paper, the lightest of what is printed nearby: [B, 1, H + 2, W + 2]."""
    framed = F.pad(image, (1, 1, 1, 1), mode="replicate")
    for edge in (0, -1):
        framed[:, :, edge] = F.max_pool1d(framed[:, :, edge], 2 * near + 1, 1, near)
        framed[:, :, :, edge] = F.max_pool1d(framed[:, :, :, edge], 2 * near + 1, 1, near)
    return framed


def _sampled(image: Tensor, places_B2HW: Tensor, beyond: str) -> Tensor:
    """The gray levels at places given as pixels, x and y; beyond the image is the `border`, or `zeros`."""
    height, width = image.shape[-2:]
    x, y = places_B2HW.unbind(1)
    shares = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(image, shares, padding_mode=beyond, align_corners=False)


def _whole(grid: Tensor, step: int, image: Tensor) -> Tensor:
    """What is known on the grid, [B, ?, R, C], for every pixel: [B, ?, H, W]."""
    large = F.interpolate(grid, scale_factor=step, mode="bilinear", align_corners=False)
    return large[:, :, step : step + image.shape[-2], step : step + image.shape[-1]]


def _resampled(image: Tensor, pixels_B: Tensor) -> Tensor:
    """Each row seen by a sensor with fewer pixels, and brought back to its length by straight lines between them."""
    length = image.shape[-1]
    index, count = torch.arange(length + 1, device=image.device), pixels_B[:, None]

    # what every one of them sees: the mean between its edges, from the sums up to them; sums of sixteenths are exact,
    # whatever the order in which a GPU adds
    sums = F.pad((image * 16).round().cumsum(-1) / 16, (1, 1))
    edge = (index * length / count).clamp(max=length)
    at_edge = torch.lerp(_taken(sums, edge.long()), _taken(sums, edge.long() + 1), _of_each_row(edge.frac()))
    means = at_edge.diff(dim=-1) * _of_each(count[:, 0] / length)

    # back to the image's own pixels
    place = ((index[:-1] + 0.5) * count / length - 0.5).clamp(min=0)
    left = place.long()
    right = torch.minimum(left + 1, count - 1)
    return torch.lerp(_taken(means, left), _taken(means, right), _of_each_row(place.frac()))


def _taken(image: Tensor, columns: Tensor) -> Tensor:
    """Columns [B, N] of the images, [B, 1, H, N]."""
    return image.gather(-1, columns[:, None, None, :].expand(-1, 1, image.shape[-2], -1))


def _filtered(image: Tensor, weights_BKL: Tensor) -> Tensor:
    """Each image with its own weights."""
    tall, wide = (size // 2 for size in weights_BKL.shape[1:])
    framed = F.pad(image, (wide, wide, tall, tall), mode="replicate").movedim(1, 0)
    return F.conv2d(framed, weights_BKL[:, None], groups=len(image)).movedim(1, 0)


def _grain(image: Tensor, seeds: Sequence[int]) -> Tensor:
    """Standard normal numbers, those of a staff by its own seed."""
    generator = torch.Generator(image.device)
    grain = torch.empty_like(image)
    for one, seed in zip(grain, seeds, strict=True):
        one.normal_(generator=generator.manual_seed(seed))
    return grain


def _compressed(image: Tensor, table_B88: Tensor) -> Tensor:
    """What JPEG leaves of whole gray levels: the cosine transform of every block, in whole steps of the table."""
    batch, _, height, width = image.shape
    full = F.pad(image, (0, -width % _BLOCK, 0, -height % _BLOCK), mode="replicate") - 128
    waves = _cosines(image.device)
    tall, wide = (length // _BLOCK for length in full.shape[-2:])
    blocks = full.reshape(batch, tall, _BLOCK, wide, _BLOCK).transpose(2, 3)
    wanted = waves @ blocks @ waves.T
    table = table_B88[:, None, None]
    kept = torch.where(table > 0, (wanted / table.clamp(min=1)).round() * table, wanted)
    seen = (waves.T @ kept @ waves).transpose(2, 3).reshape(full.shape)
    return seen[:, :, :height, :width] + 128


def _cosines(device: torch.device) -> Tensor:
    """The orthonormal discrete cosine transform, [frequency, place]."""
    place = torch.arange(_BLOCK, dtype=torch.float32, device=device)
    waves = torch.cos(math.pi / _BLOCK * (place + 0.5) * place[:, None]) * math.sqrt(2 / _BLOCK)
    waves[0] /= math.sqrt(2)
    return waves


def _steps(quality: int | None) -> npt.NDArray[np.float32]:
    """The table at a quality in percent, [8, 8], as libjpeg reckons it; zeros for no file at all."""
    if quality is None:
        return np.zeros((_BLOCK, _BLOCK), np.float32)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = (np.array(_LUMINANCE) * scale + 50) // 100
    return np.asarray(table.clip(1, 255), dtype=np.float32)


def _padded(weights: Sequence[Floats]) -> Tensor:
    """Weights about the middle with zeros around them, so that all have the size of the largest."""
    largest = max(len(one) for one in weights)
    return torch.from_numpy(np.stack([np.pad(one, (largest - len(one)) // 2) for one in weights]))


def _of_each(number_B: Tensor, dimensions: int = 4) -> Tensor:
    """One number for each image, to be multiplied with all of it."""
    return number_B.reshape(-1, *[1] * (dimensions - 1))


def _of_each_row(numbers_BN: Tensor) -> Tensor:
    return numbers_BN[:, None, None, :]
