"""One trial as a page of Markdown: which setting, how good, how sure, and where it comes from."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from omr_model.metrics import percent
from results.findings import HOW_DECIDED, Findings
from results.provenance import Hardware
from results.ranking import RankedTrial
from results.report_sections import (
    cautions_section,
    code,
    fidelity_section,
    importance_section,
    ranking_table,
    scientific,
    setting,
    table,
)
from results.samples import Samples, is_log_benchmark
from results.schema import ERROR_CLASSES, SER_BRANCHES
from results.statistics import ser_interval
from results.study import StudyRecord
from results.verdict import how_decided, interval_text, verdict

CURVE_FILE = "figures/curve.png"
WORST_STAVES = 3
LINE_WIDTH = 100
USAGE = "```sh\npython predict.py staff.png    # in this folder; README.md says more\n```"


@dataclass(frozen=True)
class TrialReport:
    """What the page is made of.

    Attributes:
        study: the study's record.
        ranking: all its trials, as `results.ranking.rank` orders them.
        trial: the one of them that the page is about.
        epoch: the row of `epochs` that belongs to the trial's weights.
        samples: what the trials of the study read.
        findings: what is known of the whole study.
    """

    study: StudyRecord
    ranking: Sequence[RankedTrial]
    trial: RankedTrial
    epoch: Mapping[str, Any]
    samples: Samples
    findings: Findings

    def text(self) -> str:
        """The page."""
        own = self.samples.of(self.trial.trial_id)
        sections = {
            HOW_DECIDED: how_decided(self.findings.decisions),
            "Setting": setting(self.study, self.trial, self.ranking),
            "Symbol error rate": rates(self.study, self.trial, self.epoch, own),
            "By corpus": by_source(own),
            "Training curve": f"![Symbol error rate and loss by epoch]({CURVE_FILE})",
            "Ranking": ranking_table(self.study, self.ranking, self.findings.decisions),
            "Scientific parameters": scientific(self.study, self.ranking),
            "Which settings matter": importance_section(self.findings.importance, self.findings.fidelity),
            "Does stopping early mislead?": fidelity_section(self.findings.fidelity),
            "Cautions": cautions_section(self.findings.cautions),
            "Worst staves": _worst_staves(own),
            "Provenance": provenance(self.study),
            "How to use it": USAGE,
        }
        title = f"# Trial {self.trial.number} of study {self.study.name}\n\n{self.verdict()}\n"
        return "\n".join([title, *(f"## {name}\n\n{body}\n" for name, body in sections.items() if body)])

    def verdict(self) -> str:
        """The page's first paragraph (`results.verdict`)."""
        return verdict(self.trial, self.ranking, self.samples, self.findings.decisions)


def rates(study: StudyRecord, trial: RankedTrial, epoch: Mapping[str, Any], samples: pa.Table) -> str:
    """SER, whole, by branch and by class of error, with what was measured.

    Args:
        study, trial: as in `TrialReport`.
        epoch: the row of `epochs` that belongs to the trial's weights.
        samples: the trial's rows of `samples`.
    """
    told = epoch["epoch"] == trial.epochs  # else the samples, which intervals are from, are of another epoch
    rows = [
        ("whole symbols", percent(epoch["ser"]), interval_text(trial) if told else ""),
        *((f"{branch} branch", percent(epoch[f"ser_{branch}"]), "") for branch in SER_BRANCHES),
        *(
            (f"errors in {name}", percent(epoch[f"ser_class_{name}"]), _interval(samples, name) if told else "")
            for name in ERROR_CLASSES
        ),
    ]
    if is_log_benchmark(samples):
        rows.append(("as the training log measured it", percent(epoch["log_ser"]), ""))
    scored_in = study.config.get("train", {}).get("scored_in")
    words = f" Both were written in the {scored_in} vocabulary first." if scored_in else ""
    notes = (
        f"On the {samples.num_rows} validation staves that every trial is scored on, after epoch {epoch['epoch']}, "
        "decoded greedily: edit distance over reference length, both summed over the staves. The errors by class add "
        f"up to that of whole symbols.{words}"
    )
    return f"{table(['', 'SER', '95 % interval'], rows)}\n\n{notes}"


def _interval(samples: pa.Table, name: str) -> str:
    """The 95 % interval of a class of errors; empty where there is no telling."""
    distances, lengths = samples[f"distance_{name}"].to_numpy(), samples["reference_length"].to_numpy()
    low, high = ser_interval(distances, lengths, samples["work"].to_pylist())
    return "" if math.isnan(low) else f"{100 * low:.1f} to {percent(high)}"


def by_source(samples: pa.Table) -> str:
    """The rate of each corpus, where the staves come from several; "" where not."""
    sources = sorted(set(samples["source"].to_pylist()))
    if len(sources) < 2:
        return ""
    rows = [(source, *_rate(samples.filter(pc.field("source") == source))) for source in sources]
    return table(["corpus", "staves", "SER", "95 % interval"], rows)


def _rate(samples: pa.Table) -> tuple[str, str, str]:
    """Of one corpus: how many staves, SER and its interval; of strips without music what is written on one."""
    distances, lengths = samples["distance"].to_numpy(), samples["reference_length"].to_numpy()
    if not lengths.sum():
        return str(len(lengths)), f"no music: {distances.mean():.2f} symbols written per strip", ""
    low, high = ser_interval(distances, lengths, samples["work"].to_pylist())
    interval = "" if math.isnan(low) else f"{100 * low:.1f} to {percent(high)}"
    return str(len(lengths)), percent(distances.sum() / lengths.sum()), interval


def _worst_staves(samples: pa.Table) -> str:
    staves = samples.to_pylist()
    staves.sort(key=lambda row: (-row["distance"] / max(row["reference_length"], 1), row["staff_id"]))
    if not staves:
        return "The checkpoint has no samples."
    return "\n\n".join(_staff(row) for row in staves[:WORST_STAVES])


def _staff(row: Mapping[str, Any]) -> str:
    """Reference over prediction, as text."""
    texts = [_wrapped("reference", row["reference"]), _wrapped("prediction", row["prediction"])]
    head = (
        f"{code(row['staff_id'])} of {code(row['work'])}: {row['distance']} edits on {row['reference_length']} symbols"
    )
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


def provenance(study: StudyRecord) -> str:
    """Code, corpus, command, machine and packages, as a table."""
    made, machine = study.provenance, study.provenance.hardware
    rows = [
        ("code", f"{made.code} (`{made.code.commit}`)"),
        ("corpus", f"{study.corpus.name}, content hash `{study.corpus.hash}`"),
        ("command", code(made.command_line)),
        ("started", made.time),
        ("sampler's seed", str(study.seed)),
        ("epochs at most", str(study.max_epochs)),
        ("hardware", machine_text(machine)),
        ("platform", f"{made.platform}, Python {made.python}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in made.packages.items())),
    ]
    return table(["", ""], rows)


def machine_text(machine: Hardware) -> str:
    """The machine in a line."""
    gpus = ", ".join(f"{count} x {name}" for name, count in Counter(machine.gpus).items()) or "no GPU"
    return f"{gpus}; {machine.cpu}, {machine.cores} cores; {machine.memory_bytes / 2**30:.0f} GiB of memory"
