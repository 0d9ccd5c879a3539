"""The training log's own recipe as a plain script, to measure the trainer against: nothing of it is the trainer's.

What the log's runs did with the "fast" option on, with the same model classes and prepared staves: fp16 autocast with
loss scaling, AdamW in batches of 16, loader workers that decode PNG files and distort, targets padded to the longest
sequence there is, the model compiled whole, weights as timm lays them out, and the loss read at each step. (Its
evaluation is `tests.slow_decoding`.) Without CUDA there is neither fp16 nor a fused AdamW,
and the model is not compiled, which took a minute and saved nothing on the CPU where it was tried; whether autocast to
bf16 is quicker is for the one who measures to see (`precision`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from datasets.notation import parse
from datasets.pictures.distortion import distort
from datasets.shards import PreparedCorpus, Staves
from datasets.vocabulary import NO_NOTE, PAD, vocabulary
from omr_model.config import TrainingConfig
from omr_model.model import Batch, TrOMR

WORKERS, BATCH = 12, 16
BRANCHES = ("rhythm", "pitch", "lift", "note")
Item = tuple[np.ndarray, np.ndarray]


class StavesOfTheLog(Dataset[Item]):
    """A staff's picture, distorted anew each time, and its four rows of ids, padded to the longest there can be."""

    def __init__(self, staves: Staves, config: TrainingConfig) -> None:
        self.staves = staves
        self.words = vocabulary(config.model.vocabulary)
        self.length = config.model.max_length
        self.distortion = config.train.mix.distortion

    def __len__(self) -> int:
        return len(self.staves)

    def __getitem__(self, index: int) -> Item:
        image = self.staves.image(index)
        if self.distortion:
            image = distort(image, self.distortion, seed=int(torch.randint(2**31, ())))
        tokens = self.words.encode(self.words.reduce(parse(self.staves.semantic(index))))
        rows = np.stack([getattr(tokens, branch) for branch in BRANCHES])
        return image, np.pad(rows, ((0, 0), (0, self.length - rows.shape[1])), constant_values=PAD)


@dataclass
class LogRecipe:
    """A training as the log's script would have run it; made ready by `start`."""

    model: TrOMR
    forward: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    batches: Iterator[Batch]
    note_mask: Tensor
    config: TrainingConfig
    dtype: torch.dtype | None
    device: torch.device

    @classmethod
    def start(cls, config: TrainingConfig, corpus: PreparedCorpus, precision: str, workers: int = WORKERS) -> LogRecipe:
        """A model with new weights, and its loaders at work.

        Args:
            precision: without CUDA, `fp32` or `bf16`; with it, it is fp16.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        on_gpu = device.type == "cuda"
        torch.manual_seed(config.train.seed)
        model = TrOMR(config.model).to(device, memory_format=torch.contiguous_format).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.optimizer.learning_rate, fused=on_gpu)
        loader = DataLoader(
            StavesOfTheLog(corpus.staves("train"), config),
            batch_size=BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=stacked,
            pin_memory=on_gpu,
            worker_init_fn=_one_thread,
        )
        return cls(
            model=model,
            forward=torch.compile(model) if on_gpu else model,  # type: ignore[arg-type]
            optimizer=optimizer,
            scaler=torch.amp.GradScaler(device.type, enabled=on_gpu),
            batches=endless(loader),
            note_mask=torch.tensor(vocabulary(config.model.vocabulary).note_rhythm_mask, device=device),
            config=config,
            dtype=torch.float16 if on_gpu else torch.bfloat16 if precision == "bf16" else None,
            device=device,
        )

    def train(self, steps: int) -> float:
        """So many steps; the last loss."""
        last = 0.0
        for _ in range(steps):
            batch = next(self.batches).to(str(self.device))
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
                loss = self.loss(batch)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.gradient_clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            last = loss.item()
        return last

    def loss(self, batch: Batch) -> Tensor:
        """TrOMR's equation 2, as published."""
        logits = self.forward(batch)
        valid = batch.rhythm[:, 1:] != PAD
        total = torch.zeros((), device=self.device)
        chances = {}
        for branch in BRANCHES:
            scores, target = getattr(logits, branch), getattr(batch, branch)[:, 1:]
            total = total + F.cross_entropy(scores[valid].float(), target[valid])
            chances[branch] = scores.float().softmax(dim=-1)
        flag = chances["note"][..., 1]
        opinions = [
            chances["rhythm"][..., self.note_mask].sum(dim=-1),
            1 - chances["pitch"][..., NO_NOTE],
            1 - chances["lift"][..., NO_NOTE],
        ]
        distance = torch.stack([(one - flag).abs() for one in opinions]).mean(dim=0)[valid].mean()
        weights = self.config.loss
        return weights.alpha * total + weights.beta * weights.gamma * distance


def stacked(items: Sequence[Item]) -> Batch:
    """Pictures and rows as tensors."""
    images, rows = zip(*items, strict=True)
    tokens_SBT = torch.from_numpy(np.stack(rows)).unbind(dim=1)
    return Batch(torch.from_numpy(np.stack(images))[:, None], *tokens_SBT)


def endless(loader: DataLoader[Item]) -> Iterator[Batch]:
    """One pass after the other."""
    while True:
        yield from loader  # type: ignore[misc]  # the collate function makes batches of items


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)
