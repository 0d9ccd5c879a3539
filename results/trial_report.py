"""One trial as a page of Markdown: which setting, how good, how sure, and where it comes from."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from results.journal import Parameter
from results.provenance import Hardware
from results.ranking import RankedTrial
from results.schema import ERROR_CLASSES, SER_BRANCHES
from results.study import StudyRecord
from results.verdict import interval_text, percent, verdict

CURVE_FILE = "curve.png"
WORST_STAVES = 3
LINE_WIDTH = 100
NOTHING = "-"


@dataclass(frozen=True)
class TrialReport:
    """What the page is made of.

    Attributes:
        study: the study's record.
        ranking: all its trials, as `results.ranking.rank` orders them.
        trial: the one of them that the page is about.
        epoch: the row of `epochs` that belongs to the trial's weights.
        samples: the `samples` table of the study.
        folder: where the trial is exported to.
    """

    study: StudyRecord
    ranking: Sequence[RankedTrial]
    trial: RankedTrial
    epoch: Mapping[str, Any]
    samples: pa.Table
    folder: str

    def text(self) -> str:
        """The page."""
        sections = {
            "Setting": _setting(self.trial),
            "Symbol error rate": _rates(self.trial, self.epoch, self._staves()),
            "Training curve": f"![Symbol error rate and loss by epoch]({CURVE_FILE})",
            "Ranking": _ranking(self.ranking),
            "Worst staves": _worst_staves(self.samples, self.trial.trial_id),
            "Provenance": _provenance(self.study),
            "How to use it": _usage(self.folder),
        }
        title = f"# Trial {self.trial.number} of study {self.study.name}\n\n{self.verdict()}\n"
        return "\n".join([title, *(f"## {name}\n\n{body}\n" for name, body in sections.items())])

    def _staves(self) -> int:
        return pc.sum(pc.equal(self.samples["trial_id"], self.trial.trial_id)).as_py() or 0

    def verdict(self) -> str:
        """The page's first paragraph (`results.verdict`)."""
        return verdict(self.trial, self.ranking, self.samples)


def _setting(trial: RankedTrial) -> str:
    if not trial.params:
        return "No parameter was searched."
    rows = [(f"`{target}`", _value(value)) for target, value in trial.params.items()]
    return _table(["parameter", "value"], rows)


def _rates(trial: RankedTrial, epoch: Mapping[str, Any], staves: int) -> str:
    interval = interval_text(trial) if epoch["epoch"] == trial.epochs else ""
    rows = [
        ("whole symbols", percent(epoch["ser"]), interval),
        *((f"{branch} branch", percent(epoch[f"ser_{branch}"]), "") for branch in SER_BRANCHES),
        *((f"errors in {name}", percent(epoch[f"ser_class_{name}"]), "") for name in ERROR_CLASSES),
        ("as the training log measured it", percent(epoch["log_ser"]), ""),
    ]
    notes = (
        f"On the {staves} validation staves that every trial is scored on, after epoch {epoch['epoch']}, decoded "
        "greedily: edit distance over reference length, both summed over the staves. The errors by class add up to "
        "that of whole symbols."
    )
    return f"{_table(['', 'SER', '95 % interval'], rows)}\n\n{notes}"


def _ranking(ranking: Sequence[RankedTrial]) -> str:
    targets = list(ranking[0].params)
    header = ["rank", "trial", "state", "epochs", "SER", "95 % interval", *(f"`{target}`" for target in targets)]
    rows = [
        (
            NOTHING if trial.rank is None else str(trial.rank),
            str(trial.number),
            trial.state,
            str(trial.epochs),
            percent(trial.ser),
            interval_text(trial),
            *(_value(trial.params[target]) for target in targets),
        )
        for trial in ranking
    ]
    note = (
        "Ranked are the trials that completed the largest number of epochs; what was stopped earlier has no rank. "
        "An interval tells what other pieces of music might give. It does not know that the best was chosen among "
        "many, which flatters it, nor what another training seed would give: trust close ranks less than the figures "
        "say."
    )
    return f"{_table(header, rows)}\n\n{note}"


def _worst_staves(samples: pa.Table, trial_id: str) -> str:
    staves = [row for row in samples.to_pylist() if row["trial_id"] == trial_id]
    staves.sort(key=lambda row: (-row["distance"] / max(row["reference_length"], 1), row["staff_id"]))
    if not staves:
        return "The checkpoint has no samples."
    return "\n\n".join(_staff(row) for row in staves[:WORST_STAVES])


def _staff(row: Mapping[str, Any]) -> str:
    """Reference over prediction, as text."""
    texts = [_wrapped("reference", row["reference"]), _wrapped("prediction", row["prediction"])]
    head = f"`{row['staff_id']}` of `{row['work']}`: {row['distance']} edits on {row['reference_length']} symbols"
    return "\n".join([head, "", "```text", *texts, "```"])


def _wrapped(label: str, semantic: str) -> str:
    margin = 12
    return textwrap.fill(
        semantic or "(nothing)",
        LINE_WIDTH,
        initial_indent=label.ljust(margin),
        subsequent_indent=" " * margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _provenance(study: StudyRecord) -> str:
    made, machine = study.provenance, study.provenance.hardware
    rows = [
        ("code", f"{made.code} (`{made.code.commit}`)"),
        ("corpus", f"{study.corpus.name}, content hash `{study.corpus.hash}`"),
        ("command", f"`{made.command_line}`"),
        ("started", made.time),
        ("sampler's seed", str(study.seed)),
        ("epochs at most", str(study.max_epochs)),
        ("hardware", _machine_text(machine)),
        ("platform", f"{made.platform}, Python {made.python}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in made.packages.items())),
    ]
    return _table(["", ""], rows)


def _machine_text(machine: Hardware) -> str:
    gpus = ", ".join(f"{count} x {name}" for name, count in Counter(machine.gpus).items()) or "no GPU"
    return f"{gpus}; {machine.cpu}, {machine.cores} cores; {machine.memory_bytes / 2**30:.0f} GiB of memory"


def _usage(folder: str) -> str:
    return f"```sh\npython -m omr_model.predict checkpoint={shlex.quote(folder)} image=staff.png\n```"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a `|` in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _value(value: Parameter) -> str:
    if value is None:
        return NOTHING
    return f"{value:.4g}" if isinstance(value, float) else str(value)
