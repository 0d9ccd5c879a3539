"""What the training staves are made of, as a frozen dataclass, checked when it is built."""

from __future__ import annotations

from dataclasses import dataclass, field

from datasets.command_line import check_choice, check_range
from datasets.pictures.camera import ALL_EFFECTS

DISTORT_ON = ("cpu", "device")


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """What the training staves are made of; validation staves are always whole, clean and of all sources.

    Attributes:
        weights: how often staves of a source are drawn, by the source's name, against 1 for every other: 2 draws
            each of its staves twice as often, 0 never. In a mixture they multiply its own.
        negatives: share of the drawn images that are no music and have an empty label (training log, run 63). They
            are the corpus's own where it has some (`diw`), else they are drawn (`datasets.pictures.negatives`). None is
            as many as the corpus has, each once a pass.
        lengths: training samples per staff: the whole label, and `lengths` - 1 times its beginning, cut at a random
            length, so that the decoder sees many (training log, run 63: 2, "mask values").
        distortion: strength of the camera effects on a training image, from 0 to 1.
        effects: which of them, by the names of `datasets.pictures.camera.EFFECTS`.
        distort_on: `cpu`, in the loader's workers, or `device`, a whole batch at once where the model is.
    """

    weights: dict[str, float] = field(default_factory=dict)
    negatives: float | None = None
    lengths: int = 1
    distortion: float = 0.0
    effects: tuple[str, ...] = ALL_EFFECTS
    distort_on: str = "cpu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "effects", tuple(self.effects))
        for source, weight in self.weights.items():
            check_range(f"mix.weights.{source}", weight, 0, 100)
        check_range("mix.negatives", self.negatives or 0, 0, 0.9)
        check_range("mix.lengths", self.lengths, 1, 10)
        check_range("mix.distortion", self.distortion, 0, 1)
        for effect in self.effects:
            check_choice("mix.effects", effect, ALL_EFFECTS)
        check_choice("mix.distort_on", self.distort_on, DISTORT_ON)
