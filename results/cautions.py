"""What a careful person would say before a study's result is used: what was seen, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets.errors import CorpusError
from datasets.manifest import Manifest
from omr_model.metrics import percent
from results.evidence import Decision
from results.fidelity import Fidelity
from results.gather import Tables
from results.journal import SessionStarted
from results.ranking import RankedTrial, base, rank
from results.roles import in_thirds, moving, together, value_text
from results.samples import Samples
from results.study import StudyRecord
from results.winner import winner_if_any

EDGE = 0.02  # of a range: so near its end
TRIALS_PER_PARAMETER = 10  # a rule of thumb for tree-structured Parzen estimators
LOST_SHARE = 0.2  # of the trials
RISE = 0.02  # of the validation loss over its least: overfitting
LATELY = 3  # epochs
STEEP = 0.05  # of the SER, gained by an epoch at the end: undertrained
STEEP_POINTS = 0.005  # and so much at the least, as a fraction


@dataclass(frozen=True)
class Caution:
    """One warning.

    Attributes:
        name: of its kind, in a word or two.
        text: what was seen, and what to do.
    """

    name: str
    text: str


def cautions(study: StudyRecord, tables: Tables, fidelity: Fidelity, decisions: Sequence[Decision]) -> list[Caution]:
    """All that there is to warn of, the gravest first.

    Args:
        study: the study's record.
        tables: as they are gathered now.
        fidelity: of its rungs.
        decisions: on its trials.
    """
    ranking = rank(tables.trials)
    best = winner_if_any(ranking, decisions)
    texts: dict[str, Iterator[str]] = {
        "base": _base(ranking),
        "code": _changes(tables.sessions),
        "corpus": _corpus(study),
        "lost trials": _lost(ranking),
        "samples": _samples(ranking, tables.samples),
        "seeds": _seeds(ranking, decisions),
        "few trials": _few(study, ranking),
        "stopping early": iter([fidelity.warning] if fidelity.warning else []),
        "edge": _edges(study, ranking, best),
        "training": _training(best, tables.epochs),
    }
    return [Caution(name, text) for name, found in texts.items() for text in found]


def _base(ranking: Sequence[RankedTrial]) -> Iterator[str]:
    foundation = base(ranking)
    if foundation is None:
        yield "The study has no trial of the base, so that nothing is shown to be better than what you had."
    elif foundation.rank is None:
        yield (
            f"The base (trial {foundation.number}) was not trained to the end ({foundation.state}, epochs: "
            f"{foundation.epochs}), so there is no verdict against it: resume the study."
        )


def _changes(sessions: Sequence[SessionStarted]) -> Iterator[str]:
    for session in sessions:
        if session.changes:
            yield (
                f"Session {session.session} went on although something had changed ({'; '.join(session.changes)}): "
                "trials before and after it are not strictly comparable."
            )


def _corpus(study: StudyRecord) -> Iterator[str]:
    try:
        now = Manifest.read(study.corpus.folder).content_hash
    except (CorpusError, OSError):
        yield (
            f"The corpus is no longer at {study.corpus.path}: the study cannot be resumed, nor its trials be repeated, "
            "until it is prepared again."
        )
        return
    if now != study.corpus.hash:
        yield (
            f"The corpus {study.corpus.name} has changed since: its content hash was {study.corpus.hash[:12]} and is "
            f"{now[:12]}. Do not compare these figures with those of trainings on what is there now."
        )


def _lost(ranking: Sequence[RankedTrial]) -> Iterator[str]:
    own = [trial for trial in ranking if trial.repeats is None and trial.state != "running"]
    lost = {state: sum(trial.state == state for trial in own) for state in ("diverged", "failed")}
    count = sum(lost.values())
    if count > LOST_SHARE * len(own):
        counts = " and ".join(f"{number} {state}" for state, number in lost.items() if number)
        yield (
            f"Of {len(own)} trials, {counts}. Where many are lost, part of the space was not searched: see their "
            "`message` in trials.parquet; a smaller learning rate or narrower ranges help against divergence."
        )


def _samples(ranking: Sequence[RankedTrial], samples: Samples) -> Iterator[str]:
    """Of those trained to the end: what was stopped early is not compared staff by staff."""
    read = samples.epochs
    ended = [trial for trial in ranking if trial.rank is not None or (trial.repeats is not None and _ended(trial))]
    lost = [str(trial.number) for trial in ended if read.get(trial.trial_id) != trial.epochs]
    if lost:
        yield (
            f"What trials {', '.join(lost)} read at their end is gone with their checkpoints, so these cannot be "
            "compared staff by staff and have no interval."
        )


def _ended(trial: RankedTrial) -> bool:
    return trial.state == "completed" and trial.ser is not None


def _seeds(ranking: Sequence[RankedTrial], decisions: Sequence[Decision]) -> Iterator[str]:
    """Whether one setting with other seeds spreads as far as settings do, whose SER holds a seed's luck each."""
    sers = [trial.ser for trial in ranking if trial.rank is not None and trial.ser is not None]
    told = [decision for decision in decisions if not np.isnan(decision.difference)]
    if not told or len(sers) < 3:
        return
    within, between = max(told, key=lambda one: one.rounds).seed_spread, float(np.std(sers, ddof=1))
    if within**2 >= between**2 - within**2:
        yield (
            f"Seeds differ as much as settings: the SER of one setting spreads by {_points(within)} over its seeds, "
            f"those of the {len(sers)} settings with a seed each by {_points(between)} (standard deviations). Much of "
            "the order of the settings is chance; train longer, or on more staves, or search a wider space."
        )


def _few(study: StudyRecord, ranking: Sequence[RankedTrial]) -> Iterator[str]:
    names = {name for target in study.parameters for name in moving(study, target)}
    parameters = len(names) or len(study.parameters)
    own = [trial for trial in ranking if trial.repeats is None and trial.state not in ("failed", "running")]
    wanted = TRIALS_PER_PARAMETER * parameters
    if len(own) < wanted:
        yield (
            f"{len(own)} trials for {parameters} parameter{'s' if parameters > 1 else ''}; a rule of thumb is {wanted}."
            f" A better setting may be unfound: resume with extend=+{wanted - len(own)}."
        )


def _edges(study: StudyRecord, ranking: Sequence[RankedTrial], best: RankedTrial | None) -> Iterator[str]:
    """Ranges that may end too early. An end at 0 is natural, and what the base has was not found at an edge."""
    foundation = base(ranking)
    if best is None:
        return
    for target, *_ in together(study, study.parameters, ranking):
        value, searched = best.params.get(target), in_thirds(study, target, 1)
        if searched is None or isinstance(value, (str, bool)) or value is None:
            continue
        if foundation is not None and value == foundation.params.get(target):
            continue
        name = next(iter(moving(study, target)))
        for end, limit, gap in (
            ("low", searched.low, searched.share(value)),
            ("high", searched.high, 1 - searched.share(value)),
        ):
            if abs(gap) <= EDGE and limit != 0:
                ends = f"{value_text(searched.low)} to {value_text(searched.high)}"
                yield (
                    f"The best trial has `{target}` {value_text(value)}, at the edge of its range ({ends}): the "
                    f"optimum may lie beyond. Search on with another space.parameters.{name}.{end}."
                )


def _training(best: RankedTrial | None, epochs: pa.Table) -> Iterator[str]:
    """Of the best trial: whether it fits its training staves ever better and the others worse, or is not done."""
    if best is None:
        return
    rows = epochs.filter(pc.field("trial_id") == best.trial_id).sort_by("epoch").to_pylist()
    if len(rows) <= LATELY or None in [row[name] for row in rows for name in ("train_loss", "validation_loss", "ser")]:
        return
    yield from _overfitting(best, rows)
    gain = (rows[-LATELY]["ser"] - rows[-1]["ser"]) / (LATELY - 1)
    if gain > max(STEEP * rows[-1]["ser"], STEEP_POINTS):
        yield (
            f"The SER of the best trial (number {best.number}) still fell by {_points(gain)} per epoch at the end "
            f"({percent(rows[-LATELY]['ser'])} to {percent(rows[-1]['ser'])} over the last {LATELY} epochs): it is not "
            "done, and what is best now need not be best later. Train longer: train.epochs=..."
        )


def _overfitting(best: RankedTrial, rows: Sequence[Mapping[str, float]]) -> Iterator[str]:
    least = int(np.argmin([row["validation_loss"] for row in rows]))
    then, now = rows[least], rows[-1]
    rises = now["validation_loss"] > (1 + RISE) * then["validation_loss"] and now["train_loss"] < then["train_loss"]
    if rises and len(rows) - 1 - least >= LATELY - 1:
        yield (
            f"The best trial (number {best.number}) overfits: since epoch {then['epoch']} its validation loss rose "
            f"from {then['validation_loss']:.3g} to {now['validation_loss']:.3g} while its training loss fell from "
            f"{then['train_loss']:.3g} to {now['train_loss']:.3g}. More staves, dropout or weight decay help."
        )


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f} points"
