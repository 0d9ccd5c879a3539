"""`python -m omr_model.evaluate`: a checkpoint on any prepared corpus.

python -m omr_model.evaluate checkpoint=runs/first corpus=datasets/corpora/engraved-short split=test
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datasets.command_line import check_choice, check_range, main
from datasets.errors import ConfigError, CorpusError
from datasets.shards import PreparedCorpus
from datasets.sources import SPLITS
from datasets.vocabulary import vocabulary
from omr_model import checkpoint
from omr_model.data import StaffDataset
from omr_model.device import resolve_device, supported_precision
from omr_model.evaluation import Evaluation
from omr_model.evaluation import evaluate as score
from omr_model.fits import check_fits
from omr_model.loss import TrOMRLoss
from omr_model.metrics import by_source, percent


@dataclass(frozen=True, kw_only=True)
class EvaluateJob:
    """Attributes: `checkpoint` is a folder, `corpus` one or an address, `split` one of train, validation, test."""

    checkpoint: str = ""
    corpus: str = ""
    split: str = "test"
    batch_size: int = 64
    device: str = "auto"

    def __post_init__(self) -> None:
        check_range("batch_size", self.batch_size, 1)


def evaluate(job: EvaluateJob) -> None:
    """Read every staff of a split and print SER, its parts by branch and by class of error.

    python -m omr_model.evaluate checkpoint=best-model corpus=datasets/corpora/engraved-short split=test
    """
    if not job.checkpoint or not job.corpus:
        raise ConfigError("name both folders: checkpoint=... corpus=...")
    check_choice("split", job.split, SPLITS)
    corpus = PreparedCorpus.open(job.corpus)
    staves = corpus.staves(job.split)
    if not staves:
        raise CorpusError(f"{corpus.path} has no {job.split} staves; name another split=")
    description = checkpoint.describe(Path(job.checkpoint))
    device = resolve_device(job.device, "device")
    model = checkpoint.load_model(Path(job.checkpoint), device)
    check_fits(model.config, corpus)
    data = StaffDataset(staves, model.vocabulary)
    loss = TrOMRLoss(description.config.loss, model.vocabulary).to(device)
    train = description.config.train  # precision and vocabulary are those it was scored with in training
    evaluation = score(
        model,
        loss,
        data,
        batch_size=job.batch_size,
        precision=supported_precision(device, train.precision),
        scored_in=vocabulary(train.scored_in or description.config.model.vocabulary),
    )
    print(summary(evaluation))


def summary(evaluation: Evaluation) -> str:
    """A few lines for a terminal."""
    ser = evaluation.summary
    branches = {"rhythm": ser.ser_rhythm, "pitch": ser.ser_pitch, "lift": ser.ser_lift}
    lines = [
        f"SER {percent(ser.ser)} on {len(evaluation.staves):,} staves   (as LOG.md had it: {percent(ser.log_ser)})",
        "  by branch  " + "  ".join(f"{name} {percent(rate)}" for name, rate in branches.items()),
        "  by class   " + "  ".join(f"{name} {percent(share)}" for name, share in ser.by_class.items()),
        *_sources(evaluation),
        f"  {len(evaluation.staves) / evaluation.seconds:.0f} staves/s",
    ]
    return "\n".join(lines)


def _sources(evaluation: Evaluation) -> list[str]:
    """A line a corpus, where there are several."""
    scores = by_source((staff.source, staff.score) for staff in evaluation.staves)
    if len(scores) < 2:
        return []
    width = max(map(len, scores))
    return [f"  {name:{width}}  {score}" for name, score in scores.items()]


if __name__ == "__main__":
    main(evaluate, EvaluateJob())
