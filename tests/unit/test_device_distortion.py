"""Camera effects on the device: the same picture as on a CPU worker, by the seed of the draw alone."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch

from datasets.errors import ConfigError
from datasets.images import WHITE, Gray
from datasets.pictures.camera import ALL_EFFECTS, draw_shot
from datasets.pictures.distortion import distort
from datasets.shards import PreparedCorpus
from datasets.vocabulary import vocabulary
from omr_model.config import MixConfig, TrainingConfig, replace_fields
from omr_model.data import StaffDataset, TrainingStaves, collate
from omr_model.distortion import Shots, photograph
from omr_model.mix import NEGATIVE, Draw
from omr_model.model import Batch
from omr_model.trainer import Trainer
from tests.models import training

SEEDS = range(6)
WITHOUT_NOISE = tuple(name for name in ALL_EFFECTS if name != "noise")


@pytest.fixture(scope="module")
def data(corpus: PreparedCorpus) -> StaffDataset:
    return StaffDataset(corpus.staves("train"), vocabulary("full"))


def both(
    image: Gray, effects: Sequence[str], strength: float = 1.0, staves: int = 1
) -> tuple[np.ndarray, np.ndarray, float]:
    """What the two renderers make of one image with several seeds, as numbers; and how much they changed it."""
    shots = [draw_shot(image, strength, seed, effects, staves) for seed in SEEDS]
    batch = torch.from_numpy(np.stack([image for _ in shots]))[:, None]
    on_device = photograph(batch, Shots.stacked(shots))[:, 0].numpy().astype(float)
    on_cpu = np.stack([distort(image, strength, seed, effects, staves) for seed in SEEDS]).astype(float)
    return on_cpu, on_device, float(np.abs(on_cpu - image).mean())


def page(height: int, width: int) -> Gray:
    """Staff lines, stems and a blot on white."""
    image = np.full((height, width), WHITE, np.uint8)
    image[height // 4 : 3 * height // 4 : height // 10, 5:-9] = 0
    image[height // 3 : height // 2, 9 :: width // 12] = 40
    image[height // 2 : height // 2 + 6, width // 3 : width // 3 + 9] = 0
    return image


@pytest.mark.parametrize("effect", WITHOUT_NOISE)
def test_an_effect_looks_as_on_the_cpu(effect: str, data: StaffDataset) -> None:
    on_cpu, on_device, changed = both(data[0].image, (effect,))
    assert np.abs(on_cpu - on_device).mean() < min(0.5, 0.2 * changed)
    if effect != "compression":  # where a rounding that falls the other way is a whole step of the table
        assert np.abs(on_cpu - on_device).max() <= 3


@pytest.mark.parametrize(("height", "width", "staves"), [(64, 256, 1), (128, 1280, 1), (256, 640, 2), (50, 231, 1)])
def test_all_effects_together_look_as_on_the_cpu(height: int, width: int, staves: int) -> None:
    on_cpu, on_device, changed = both(page(height, width), WITHOUT_NOISE, staves=staves)
    assert np.abs(on_cpu - on_device).mean() < 1.5
    assert changed > 30


def test_without_an_effect_nothing_changes(data: StaffDataset) -> None:
    on_cpu, on_device, changed = both(data[0].image, ())
    assert changed == 0
    assert np.array_equal(on_cpu, on_device)


def test_the_noise_is_as_strong_as_on_the_cpu() -> None:
    image = np.full((64, 256), 128, np.uint8)
    on_cpu, on_device, _ = both(image, ("noise",))
    for one, other in zip(on_cpu, on_device, strict=True):
        assert other.std() == pytest.approx(one.std(), rel=0.05)
        assert abs(other.mean() - 128) < 0.2


def test_a_staff_looks_the_same_in_every_batch(data: StaffDataset) -> None:
    samples = TrainingStaves(data, MixConfig(distortion=0.8, distort_on="device"))
    draws = [Draw(position, cut=False, seed=seed) for position, seed in ((0, 1), (3, 2), (NEGATIVE, 3), (7, 4))]
    together = seen(samples, draws)
    assert torch.equal(together.flip(0), seen(samples, draws[::-1]))
    close = torch.cat([seen(samples, [draw]) for draw in draws]).float() - together.float()
    assert close.abs().max() <= 1  # a convolution may add up in another order


def seen(samples: TrainingStaves, draws: Sequence[Draw]) -> torch.Tensor:
    return collate([samples[draw] for draw in draws]).photographed().image


def test_a_loader_leaves_the_effects_to_the_device(data: StaffDataset) -> None:
    draws = [Draw(position, cut=False, seed=position + 10) for position in range(4)]
    here, there = (TrainingStaves(data, MixConfig(distortion=0.5, distort_on=place)) for place in ("cpu", "device"))
    left = collate([there[draw] for draw in draws])
    assert left.shots is not None
    assert torch.equal(left.image, collate([data[draw.position] for draw in draws]).image)
    made = left.to("cpu").photographed()
    assert made.shots is None
    assert (made.image.float() - seen(here, draws).float()).abs().mean() < 8  # of which the noise is most


def test_a_batch_without_effects_is_left_as_it_is(data: StaffDataset) -> None:
    samples = TrainingStaves(data, MixConfig(distort_on="device"))
    batch: Batch = collate([samples[Draw(0, cut=False, seed=1)]])
    assert batch.shots is None
    assert batch.photographed() is batch


@pytest.mark.parametrize("place", ["cpu", "device"])
def test_a_loader_process_makes_what_the_training_process_would(place: str, corpus: PreparedCorpus) -> None:
    mix = MixConfig(distortion=0.7, distort_on=place)
    losses = []
    for workers in (0, 1):
        cv2.setNumThreads(2)
        cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (0, 0), 3)  # OpenCV has threads now, as after a preparation
        losses.append(Trainer(training(mix=mix, epochs=1, workers=workers), corpus).fit()[0].losses)
    assert losses[0] == losses[1]


# Configuration --------------------------------------------------------------------------------------------


def test_effects_can_be_chosen_by_name_and_as_text(data: StaffDataset) -> None:
    config = replace_fields(TrainingConfig(), {"train.mix.effects": "[blur, noise]", "train.mix.distortion": 0.5})
    assert config.train.mix.effects == ("blur", "noise")
    sample = TrainingStaves(data, config.train.mix)[Draw(0, cut=False, seed=3)]
    plain = data[0].image.astype(int)
    assert np.abs(sample.image - plain)[plain == WHITE].mean() < 20  # no shadow, no gray paper
    assert not np.array_equal(sample.image, plain)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"effects": ("blurr",)}, r"unknown mix\.effects 'blurr'; .*did you mean blur"),
        ({"distort_on": "gpu"}, r"unknown mix\.distort_on 'gpu'; choose cpu, device"),
    ],
)
def test_unknown_effects_and_places_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MixConfig(**fields)
