"""Reading with torch: a checkpoint as a `Reader`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from datasets.images import Gray, fit
from omr_model import checkpoint
from omr_model.decoding import read_batches
from omr_model.device import resolve_device
from omr_model.reading import Reading


class TorchReader:
    """Reads staves as `omr_model.decoding.greedy` does, in the precision of the weights."""

    def __init__(self, folder: Path, device: str = "auto") -> None:
        """Load the model.

        Raises:
            CheckpointError: the folder is no checkpoint, or a damaged one.
            ConfigError: the device is not there.
        """
        self.model = checkpoint.load_model(folder, resolve_device(device, "device"))

    def read(self, images: Sequence[Gray], batch_size: int = 16) -> list[Reading]:
        """Read pictures of one staff each, of any size, so many at a time."""
        size = (self.model.config.height, self.model.config.width)
        batches = (
            np.stack([fit(image, *size) for image in images[start : start + batch_size]])
            for start in range(0, len(images), batch_size)
        )
        return read_batches(self.model, (torch.from_numpy(batch)[:, None] for batch in batches))
