"""The tables of a study, column by column.

    trials    one row a trial
    epochs    one row an epoch of a trial
    samples   one row a validation staff, as each trial's latest checkpoint read it

and two that are worked out of them (`results.findings`):

    importance   one row a parameter and kind of error
    rungs        one row an epoch at which trials are compared

    python -m results.schema                                all of them
    python -m results.schema trials                         one, or several
    python -m results.schema to=docs/reference/tables.md    as Markdown, into a file

Each Arrow field carries its `description` and `unit` as metadata,
which Parquet keeps. Units: SER as a fraction (0.23), times in seconds, memory in bytes, moments in UTC. A
number that was not measured, or that is not a number, is null.

The schema's metadata holds the content of `study.json` under the key `STUDY_KEY`, so that a report that was
copied elsewhere still says where it comes from.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from datasets.command_line import HELP, check_choice, check_ending, check_target, guarded, parse
from datasets.files import write_atomically
from omr_model.metrics import ErrorClass

STUDY_KEY = "omr_study"
PARAMETER_PREFIX = "params."
JOULES_PER_KILOWATT_HOUR = 3.6e6
LOSS_BRANCHES = ("rhythm", "pitch", "lift", "note", "consistency")
SER_BRANCHES = ("rhythm", "pitch", "lift")
ERROR_CLASSES = tuple(str(error) for error in ErrorClass)

MOMENT = pa.timestamp("us")  # UTC without saying so: DuckDB needs a further package to fetch zoned ones


def parameter_column(target: str, kind: pa.DataType) -> pa.Field:
    """The field of a searched parameter in `trials`; `target` is its place in the configuration."""
    return _column(PARAMETER_PREFIX + target, kind, "", f"The trial's value of `{target}`.")


def extra_column(name: str) -> pa.Field:
    """The field in `epochs` of a metric that a trainer reports beyond those of `EPOCHS`."""
    return _number(name, "", "Reported by the trainer; not part of the documented schema.")


def _column(name: str, kind: pa.DataType, unit: str, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": description, "unit": unit})


def _text(name: str, description: str) -> pa.Field:
    return _column(name, pa.string(), "", description)


def _count(name: str, unit: str, description: str) -> pa.Field:
    return _column(name, pa.int64(), unit, description)


def _number(name: str, unit: str, description: str) -> pa.Field:
    return _column(name, pa.float64(), unit, description)


def _rate(name: str, description: str) -> pa.Field:
    return _number(name, "fraction", description)


def _moment(name: str, description: str) -> pa.Field:
    return _column(name, MOMENT, "UTC", description)


def _losses(phase: str, total: str) -> list[pa.Field]:
    parts = [(f"{phase}_loss_{branch}", f"Its {branch} part, before weighting.") for branch in LOSS_BRANCHES]
    return [_number(name, "", description) for name, description in [(f"{phase}_loss", total), *parts]]


_STUDY = _text("study", "The study's name.")
_TRIAL = _text("trial_id", "The engine's name of the trial; unique in its study.")

TRIALS = pa.schema(
    [
        _STUDY,
        _TRIAL,
        _count("number", "", "Position of the trial in its study, from 0."),
        _text("state", "completed, pruned, paused, failed, diverged; running as long as no end is recorded."),
        _rate("ser", "Corpus-level symbol error rate after the last epoch reached."),
        _rate(
            "ser_low",
            "Its 95 % interval's lower end (bootstrap over works); null without that epoch's samples.",
        ),
        _rate("ser_high", "That interval's upper end."),
        _rate("log_ser", "Symbol error rate as the training log measured it, after the last epoch."),
        _number(
            "manual",
            "differences",
            "A person's rating of whole pages read by the trial, in differences from the true score: lower is better; "
            "null as long as nobody rated it.",
        ),
        _count("epochs", "epochs", "The last epoch reached; 0 before the first has ended."),
        _number("seconds", "s", "Wall time of its epochs, validation included, summed."),
        _number("gpu_seconds", "s", "GPU time of its epochs, summed: its share where trials share a GPU; 0 on a CPU."),
        _count("peak_memory_bytes", "bytes", "Largest peak memory of its epochs."),
        _number("energy_joules", "J", "Energy of its epochs, summed; null where that of any is not known."),
        _count("seed", "", "Seed of the training."),
        _text(
            "origin",
            "Where its setting comes from: base, a run of the training log, prior, another trial; empty: sampler.",
        ),
        _count(
            "repeats",
            "",
            "Number of the trial whose setting it trains again with another seed; null for a trial of the search.",
        ),
        _text("message", "Why it ended, in words; null as long as it runs."),
        _text("checkpoint", "Folder of its latest checkpoint, relative to the study folder or absolute."),
        _moment("started", "When it first started."),
        _moment("ended", "When it ended; null as long as it runs."),
    ]
)
"""Without the searched parameters: each adds one `parameter_column`, typed by its values."""

EPOCHS = pa.schema(
    [
        _STUDY,
        _TRIAL,
        _count("epoch", "epochs", "From 1."),
        *_losses("train", "Mean training loss of the epoch: the weighted sum that is minimised."),
        *_losses("validation", "Mean teacher-forced validation loss; it misleads as a ranking."),
        _rate("ser", "Corpus-level symbol error rate, decoded greedily."),
        *(_rate(f"ser_{branch}", f"Symbol error rate of the {branch} branch alone.") for branch in SER_BRANCHES),
        *(_rate(f"ser_class_{name}", f"Part of `ser` that is errors in {name}.") for name in ERROR_CLASSES),
        _rate("log_ser", "Symbol error rate as the training log measured it."),
        _number("learning_rate", "", "At the last step of the epoch."),
        _count("samples_seen", "staves", "Training staves since the start of the trial."),
        _number("samples_per_second", "staves/s", "Training staves a second, without validation."),
        _number("seconds", "s", "Wall time of the epoch, validation included."),
        _number("data_seconds", "s", "Part of it that was spent waiting for batches."),
        _number("gpu_seconds", "s", "GPU time of the epoch: its share where trials share a GPU; 0 on a CPU."),
        _count("peak_memory_bytes", "bytes", "Peak memory of the GPU, or of the process on a CPU."),
        _number(
            "energy_joules",
            "J",
            "Energy of the whole GPU, or of the processor where there is none, during the epoch: trials that share it "
            "each count all of it; null where the driver does not tell.",
        ),
        _moment("time", "When the epoch was reported."),
    ]
)

SAMPLES = pa.schema(
    [
        _STUDY,
        _TRIAL,
        _count("epoch", "epochs", "Epoch of the checkpoint."),
        _text("staff_id", "The staff's name in the prepared corpus."),
        _text("work", "The piece it comes from."),
        _text("source", "The corpus it comes from, or for the embedded one the collection."),
        _count("distance", "symbols", "Edit distance between prediction and reference."),
        _count("reference_length", "symbols", "Length of the reference; 0 for a strip without music."),
        _text("prediction", "What the model read, in the semantic encoding."),
        _column(
            "confidences",
            pa.list_(pa.float32()),
            "probability",
            "Of each symbol of `prediction`, a chord's joiners included; null in studies before it was kept.",
        ),
        _text("reference", "What is printed, in the semantic encoding."),
        *(
            _count(f"distance_{name}", "symbols", f"Part of `distance` that is errors in {name}.")
            for name in ERROR_CLASSES
        ),
    ]
)

IMPORTANCE = pa.schema(
    [
        _STUDY,
        _text("parameters", "The targets that one parameter moves alike, with commas."),
        _text("metric", "The column of `epochs` that it is about: `ser`, a branch's or an error class's."),
        _text("basis", "early: trials are compared after the first rung, or as nearly all reached; final: the end."),
        _count("epoch", "epochs", "After which they are compared."),
        _count("trials", "", "That have the parameter, of those that are compared."),
        _rate("share", "Of the importance of all parameters (PED-ANOVA, the best third against all trials)."),
        _rate("share_low", "Its 95 % interval's lower end (bootstrap over trials); null where chance explains it."),
        _rate("share_high", "That interval's upper end."),
        _number("divergence", "", "PED-ANOVA's importance itself, which the shares are made of."),
        _rate("chance", "How often a whole table of shuffled trials has a cell as strong; above 0.05, it is noise."),
        _rate("difference", "SER (or that part of it) in the worst third of the range less that in the best."),
        _rate("difference_low", "Its 95 % interval's lower end (bootstrap over trials, with these two thirds)."),
        _rate("difference_high", "That interval's upper end."),
        _text("best", "That best third, or value."),
        _text("worst", "That worst third, or value."),
    ]
)

RUNGS = pa.schema(
    [
        _STUDY,
        _count("epoch", "epochs", "After which trials are compared."),
        pa.field(
            "compared",
            pa.bool_(),
            metadata={"description": "Whether they were; else what could have been.", "unit": ""},
        ),
        _count("reduction", "", "One trial in so many goes on."),
        _count("trials", "", "That were trained to the end and have a SER at both epochs."),
        _number("tau", "", "Kendall's tau-b between SER then and at the end; null below five trials."),
        _number("tau_low", "", "Its 95 % interval's lower end (bootstrap over trials)."),
        _number("tau_high", "", "That interval's upper end."),
        _number("rho", "", "Spearman's rank correlation of the same."),
        _count("best", "", "How many trials count as the finally best: a third, or as many as the rung lets pass."),
        _count("lost", "", "How many of these would have been stopped here."),
    ]
)


TABLES: Mapping[str, tuple[str, Sequence[pa.Field]]] = {
    "trials": ("One row per trial.", [*TRIALS, parameter_column("<target>", pa.null())]),
    "epochs": ("One row per epoch of a trial.", list(EPOCHS)),
    "samples": ("One row per validation staff, as each trial's latest checkpoint read it.", list(SAMPLES)),
    "importance": ("One row per parameter and kind of error, worked out of the others.", list(IMPORTANCE)),
    "rungs": ("One row per epoch at which trials are compared, worked out of the others.", list(RUNGS)),
}
"""What a row is, and the columns, of each table by its name."""

PAGE = f"""# Tables

`python -m results.gather study=NAME` writes a study's tables as Parquet; `results.load(NAME)` has them as data frames.
`python -m results.schema` prints this page as text, `python -m results.schema trials` one table. Each Parquet column
has its description and unit as metadata, and each file the study's `study.json`, under the key `{STUDY_KEY}`. SER is a
fraction (0.23), moments are in UTC; a number that was not measured, or that is not a number, is null.

<!-- Written by `python -m results.schema to=docs/reference/tables.md`; a test holds it against the code. -->
"""


def describe(names: Sequence[str] = tuple(TABLES)) -> str:
    """The tables of these names and their columns as text."""
    return "\n\n".join("\n".join([name, *_lines(TABLES[name][1])]) for name in names)


def as_markdown(names: Sequence[str] = tuple(TABLES)) -> str:
    """The tables of these names as the page of the documentation (`docs/reference/tables.md`)."""
    return "\n".join([PAGE, *("\n".join(_section(name)) for name in names)])


def _section(name: str) -> list[str]:
    about, fields = TABLES[name]
    rows = [f"| `{column}` | {kind} | {unit} | {text} |" for column, kind, unit, text in map(_told, fields)]
    return [f"## {name}", "", about, "", "| column | type | unit | what it is |", "|---|---|---|---|", *rows, ""]


def _lines(fields: Sequence[pa.Field]) -> list[str]:
    rows = [_told(field) for field in fields]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return ["  ".join(["", *map(str.ljust, row, widths), row[-1]]) for row in rows]


def _told(field: pa.Field) -> tuple[str, str, str, str]:
    """A column's name, type, unit and description."""
    kinds = {pa.null(): "any", MOMENT: "timestamp", pa.list_(pa.float32()): "list of float"}
    unit, text = (field.metadata[key].decode() for key in (b"unit", b"description"))
    return field.name, kinds.get(field.type, str(field.type)), unit, text


@dataclass(frozen=True)
class SchemaConfig:
    """Attributes.

    to: a Markdown file to write instead of printing; it ends in .md.
    """

    to: str = ""

    def __post_init__(self) -> None:
        check_ending("to", self.to, [".md"])


def command(words: Sequence[str]) -> NoReturn:
    """Print the tables that the words name, or all; or write them to the file `to=`; then exit."""

    def run() -> None:
        if HELP.intersection(words):
            print((__doc__ or "").strip())
            return
        config = parse(SchemaConfig(), [word for word in words if "=" in word])
        names = [word for word in words if "=" not in word] or list(TABLES)
        for name in names:
            check_choice("table", name, list(TABLES))
        if config.to:
            to = Path(config.to)
            check_target("to", to, folder=False)
            to.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(to, as_markdown(names).encode())
        print(config.to or describe(names))

    guarded(run)


if __name__ == "__main__":
    command(sys.argv[1:])
