"""What a model makes of staves: autoregressive SER, and the teacher-forced losses beside it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from datasets.notation import Symbol, parse
from datasets.vocabulary import Vocabulary
from omr_model.data import Sample, StaffDataset, collate
from omr_model.decoding import greedy
from omr_model.device import autocast
from omr_model.loss import LOSS_PARTS, TrOMRLoss
from omr_model.metrics import SerSummary, StaffScore, score_staff, summarize
from omr_model.model import TrOMR
from omr_model.reading import Reading


@dataclass(frozen=True)
class StaffResult:
    """One staff as it was read, beside what is printed on it.

    Attributes:
        confidences: of each symbol of the prediction (`omr_model.reading`).
    """

    staff_id: str
    work: str
    source: str
    prediction: list[Symbol]
    confidences: list[float]
    reference: list[Symbol]
    score: StaffScore


@dataclass(frozen=True)
class Evaluation:
    """A model's result on a set of staves.

    Attributes:
        summary: SER and its parts over all staves.
        losses: teacher-forced means by part of the loss; they mislead as a ranking (a run with validation
            loss 0.003 had SER 82 %), and are kept to see overfitting.
        staves: one result a staff, for paired comparisons.
        seconds: wall time.
    """

    summary: SerSummary
    losses: dict[str, float]
    staves: list[StaffResult]
    seconds: float


@torch.inference_mode()
def evaluate(
    model: TrOMR,
    loss: TrOMRLoss,
    data: StaffDataset,
    *,
    batch_size: int,
    precision: str = "fp32",
    scored_in: Vocabulary | None = None,
) -> Evaluation:
    """Read every staff of `data` greedily and compare; the model's mode is put back afterwards.

    Args:
        scored_in: what predictions and labels are written in before they are compared; None is the model's own.
    """
    started = time.perf_counter()
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total = torch.zeros(len(LOSS_PARTS), device=device)
    readings: list[Reading] = []
    try:
        for samples in _chunks(data, batch_size):
            batch = collate(samples).to(str(device))
            with autocast(device, precision):
                total += loss(model(batch), batch).detached() * len(samples)
                readings += greedy(model, batch.image)
    finally:
        model.train(was_training)
    words = scored_in or model.vocabulary
    results = [_result(data, position, reading, words) for position, reading in enumerate(readings)]
    means = (total / max(1, len(data))).tolist()
    return Evaluation(
        summary=summarize([result.score for result in results]),
        losses=dict(zip(LOSS_PARTS, means, strict=True)),
        staves=results,
        seconds=time.perf_counter() - started,
    )


def _result(data: StaffDataset, position: int, reading: Reading, words: Vocabulary) -> StaffResult:
    staves, index = data.staves, data.indices[position]
    read, reference = reading.in_words_of(words), words.reduce(parse(staves.semantic(index)))
    return StaffResult(
        staff_id=staves.staff_id(index),
        work=staves.work(index),
        source=staves.source(index),
        prediction=read.symbols,
        confidences=read.confidences,
        reference=reference,
        score=score_staff(read.symbols, reference),
    )


def _chunks(data: StaffDataset, size: int) -> Iterable[list[Sample]]:
    for start in range(0, len(data), size):
        yield [data[position] for position in range(start, min(start + size, len(data)))]
