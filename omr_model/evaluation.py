"""What a model makes of staves: autoregressive SER, and the teacher-forced losses beside it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from datasets.notation import Symbol, parse
from datasets.shards import Staves
from datasets.vocabulary import Vocabulary
from omr_model.corpus_scores import score_staves
from omr_model.data import Sample, StaffDataset, collate
from omr_model.decoding import encode, read_off_all, write_on
from omr_model.device import autocast
from omr_model.loss import LOSS_PARTS, TrOMRLoss
from omr_model.metrics import SerSummary, StaffScore, summarize
from omr_model.model import TrOMR
from omr_model.parallel import BY_ITSELF, Parallel
from omr_model.reading import Reading
from omr_model.step import Step


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
    parallel: Parallel = BY_ITSELF,
) -> Evaluation:
    """Read every staff of `data` greedily and compare; the model's mode is put back afterwards.

    Args:
        scored_in: what predictions and labels are written in before they are compared; None is the model's own.
        parallel: of several processes, each reads its share, and all of them get the whole result.
    """
    started = time.perf_counter()
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total = torch.zeros(len(LOSS_PARTS), device=device)
    readings: list[Reading] = []
    try:
        with autocast(device, precision):
            step = Step(model.decoder)
            for samples in _chunks(data, parallel.share(range(len(data))), batch_size):
                batch = collate(samples).to(str(device))
                picture_BPD = encode(model, batch.image)  # once, for the losses and for reading
                total += loss(model.score(batch, picture_BPD), batch).detached() * len(samples)
                readings += read_off_all(model, *write_on(step, picture_BPD, model.config.max_length))
    finally:
        model.train(was_training)
    words = scored_in or model.vocabulary
    indices = [data.indices[position] for position in parallel.share(range(len(data)))]
    shares = parallel.gather(_results(data.staves, indices, [one.in_words_of(words) for one in readings], words))
    results = [result for share in shares for result in share]
    means = (parallel.sum(total) / max(1, len(data))).tolist()
    return Evaluation(
        summary=summarize([result.score for result in results]),
        losses=dict(zip(LOSS_PARTS, means, strict=True)),
        staves=results,
        seconds=time.perf_counter() - started,
    )


def _results(
    staves: Staves, indices: Sequence[int], readings: Sequence[Reading], words: Vocabulary
) -> list[StaffResult]:
    references = [words.reduce(parse(staves.semantic(index))) for index in indices]
    scores = score_staves([reading.symbols for reading in readings], references).of_staves()
    return [
        StaffResult(
            staff_id=staves.staff_id(index),
            work=staves.work(index),
            source=staves.source(index),
            prediction=reading.symbols,
            confidences=reading.confidences,
            reference=reference,
            score=score,
        )
        for index, reading, reference, score in zip(indices, readings, references, scores, strict=True)
    ]


def _chunks(data: StaffDataset, positions: Sequence[int], size: int) -> Iterable[list[Sample]]:
    for start in range(0, len(positions), size):
        yield [data[position] for position in positions[start : start + size]]
