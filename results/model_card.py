"""The model card of an export, with the headings that Hugging Face's template has, out of the tables of the study.

    Mitchell et al., Model Cards for Model Reporting, FAT* 2019 (arXiv 1810.03993)

It is written for whoever gets the folder and knows nothing of the study: what the model may be used for, how often it
errs, and what nobody has measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from datasets.licences import terms
from datasets.manifest import Manifest
from datasets.staff import STAFF_SIZES
from omr_model.config import TrainingConfig
from omr_model.layout import ATTENTION_FILE, DESCRIPTION, METRICS_FILE, ONNX_FOLDER, WEIGHTS
from omr_model.metrics import percent
from results.exported import ExportedTrial
from results.portable import COMMAND_FILE, LICENCE_FILE, ONNX_REQUIREMENTS, TORCH_REQUIREMENTS
from results.read_back import ReadBack, TriedOut
from results.report_sections import code, table
from results.schema import ERROR_CLASSES, JOULES_PER_KILOWATT_HOUR
from results.study import PAGE_FILE
from results.trial_report import CURVE_FILE, by_source, provenance, rates
from results.verdict import interval_text

CARD_FILE, PREDICTIONS_FILE = "README.md", "predictions.parquet"
CITATION = """```bibtex
@inproceedings{li2023tromr,
  title     = {{TrOMR}: Transformer-Based Polyphonic Optical Music Recognition},
  author    = {Li, Yixuan and Liu, Huaping and Jin, Qiang and Cai, Miaomiao and Li, Peng},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  year      = {2023},
  note      = {arXiv:2308.09370}
}
```"""

FILES = {
    CARD_FILE: "this card",
    COMMAND_FILE: "reads pictures; needs this folder and the packages of the requirements",
    "code": "the part of the project that it runs, with its licence",
    TORCH_REQUIREMENTS: "packages with their versions, for PyTorch",
    ONNX_REQUIREMENTS: "the same for onnxruntime, without PyTorch",
    WEIGHTS: "the weights",
    DESCRIPTION: "what rebuilds the model around them",
    "config.json": "the whole configuration that it was trained with",
    "vocabulary.json": "tokens by branch, in the order of their ids",
    "preprocessing.json": "what becomes of a picture before the model sees it",
    METRICS_FILE: "its rows of the study's tables, and the study's decisions",
    PREDICTIONS_FILE: "what it read on every validation staff, beside the truth",
    "figures": "the training curve; what the model looks at",
    "report.md": "the trial's page: setting, rates, ranking, cautions",
    PAGE_FILE: "the study's page, with figures to look at",
    ONNX_FOLDER: "the model for onnxruntime",
}


@dataclass(frozen=True)
class ModelCard:
    """What the card is made of.

    Attributes:
        it: the trial, and what is known of it.
        corpus: the manifest of what it was trained on; None where that is gone or another by now.
        parameters: how many numbers the weights have; None if that cannot be told.
        tried: what came of reading with it.
        files: names in the export.
    """

    it: ExportedTrial
    corpus: Manifest | None
    parameters: int | None
    tried: TriedOut
    files: Sequence[str]

    def text(self) -> str:
        """The card, in Markdown."""
        sections = {
            "Model details": _details(self),
            "Uses": _uses(self),
            "Limits": _limits(self),
            "How to use it": _usage(self.files),
            "Training data": _training_data(self),
            "Training procedure": _training(self),
            "Evaluation": _evaluation(self),
            "Environmental impact": _environment(self),
            "Technical specifications": _architecture(self.it.training),
            "Licence": _licence(self),
            "Provenance": provenance(self.it.study),
            "Citation": f"The model's architecture is that of TrOMR:\n\n{CITATION}",
            "Files": table(["file", "what it is"], [(code(name), FILES[name]) for name in FILES if name in self.files]),
        }
        title = f"# {_name(self)}\n\n{_summary(self)}\n"
        return "\n".join([_front_matter(self), title, *(f"## {name}\n\n{body}\n" for name, body in sections.items())])


def _name(card: ModelCard) -> str:
    return f"TrOMR, study {card.it.study.name}, trial {card.it.trial.number}"


def _front_matter(card: ModelCard) -> str:
    """Metadata as the Hugging Face Hub reads it, in YAML, of which JSON is a part: names come from anywhere.

    There is no `license`: nobody has said under which one these weights are.
    """
    result = {
        "task": {"type": "image-to-text", "name": "Optical music recognition"},
        "dataset": {"type": card.it.study.corpus.name, "name": f"{card.it.study.corpus.name}, validation staves"},
        "metrics": [{"type": "ser", "name": "Symbol error rate", "value": card.it.epoch["ser"]}],
    }
    fields = {
        "library_name": "pytorch",
        "pipeline_tag": "image-to-text",
        "tags": ["optical-music-recognition", "sheet-music", "tromr"],
        "metrics": ["ser"],
        "model-index": [{"name": _name(card), "results": [result]}],
    }
    lines = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
    return "\n".join(["---", *lines, "---", ""])


def _summary(card: ModelCard) -> str:
    wrong = 100 * card.it.epoch["ser"]
    rate = f"{percent(card.it.epoch['ser'])}{_interval(card)}"
    trial, last = card.it.trial, card.it.study.max_epochs
    unfinished = f" It was not trained to its end: {trial.state} after epoch {trial.epochs} of {last}."
    return (
        f"It reads a picture of {_picture(card)} and writes its symbols. Of 100 symbols it gets some "
        f"{wrong:.0f} wrong, on pieces that it was not trained on, but of the same kind: its symbol error rate on the "
        f"validation staves of {card.it.study.corpus.name} is {rate}.{'' if trial.state == 'completed' else unfinished}"
    )


def _picture(card: ModelCard) -> str:
    """What a picture shows; of a corpus that is gone that cannot be told, and it says `music`."""
    staves = 0 if card.corpus is None else STAFF_SIZES[card.corpus.settings.staff].staves
    shown = {0: "printed music", 1: "one staff of printed music", 2: "a piano's two staves, printed"}[staves]
    model = card.it.training.model
    return f"{shown} ({model.height} x {model.width} pixels)"


def _interval(card: ModelCard) -> str:
    at_the_end = card.it.epoch["epoch"] == card.it.trial.epochs
    return f" (95 % interval {interval_text(card.it.trial)})" if at_the_end and interval_text(card.it.trial) else ""


def _details(card: ModelCard) -> str:
    count = "unknown" if card.parameters is None else f"{card.parameters:,}"
    rows = [
        (
            "what it is",
            "an optical music recognition model: a convolutional and transformer encoder, a decoder of four branches",
        ),
        ("architecture", "TrOMR (arXiv 2308.09370)"),
        ("parameters", count),
        ("reads", f"{_picture(card)}, gray; other sizes are scaled to fit"),
        ("writes", f"semantic text, MusicXML or MEI, of at most {card.it.training.model.max_length - 1} symbols"),
        ("vocabulary", f"{card.it.training.model.vocabulary}: `vocabulary.json`"),
        ("trained by", f"omr-search, study {card.it.study.name}, {card.it.study.created}"),
    ]
    return table(["", ""], rows)


def _uses(card: ModelCard) -> str:
    return (
        f"**Intended.** Reading {_picture(card)}, which somebody has cut out, with a "
        "person who corrects the result; comparison with other models on the same data; a start for further "
        "training.\n\n"
        "**Out of scope.** Whole pages; handwritten music; lute tablature, neumes, percussion and chord symbols; "
        "lyrics, dynamics, slurs and other marks, for which the vocabulary has no words; editions or archives that "
        "nobody proofreads."
    )


def _limits(card: ModelCard) -> str:
    config, sources = card.it.training, _sources(card)
    points = [
        _worst(card),
        f"It writes at most {config.model.max_length - 1} symbols and then stops, wherever the staff is.",
        "Its rates are from the validation staves that settings were chosen on, which flatters them a little. No test "
        "set was read, and how it does on other prints than those of the training data was not measured.",
        "Confidences are the model's own probabilities, and are not calibrated.",
        "The music is what the corpora have: mostly Western, in common notation. What is rare there is read badly.",
    ]
    if config.train.mix.distortion == 0 and not {"camera_primus", "cpms", "photographed"} & sources.keys():
        points.insert(1, "It was trained on clean engravings alone and has never seen a photograph or a scan.")
    if "diw" not in sources and config.train.mix.negatives is None:
        points.append("It has seen no picture without music, and may read symbols into one.")
    return "\n".join(f"- {point}" for point in points)


def _worst(card: ModelCard) -> str:
    """Which errors are the most."""
    shares = {name: card.it.epoch[f"ser_class_{name}"] or 0.0 for name in ERROR_CLASSES}
    most = sorted(shares, key=lambda name: -shares[name])[:3]
    listed = ", ".join(f"{name} ({percent(shares[name])} of the symbols)" for name in most if shares[name])
    return f"Most errors are in {listed}." if listed else "On the validation staves it made no error."


def _usage(files: Sequence[str]) -> str:
    lines = [f"python -m pip install -r {TORCH_REQUIREMENTS}    # in a new environment, Python 3.11 or newer"]
    if ONNX_REQUIREMENTS in files:
        lines.append(f"python -m pip install -r {ONNX_REQUIREMENTS}    # or this: smaller, without PyTorch")
    lines += [
        f"python {COMMAND_FILE} staff.png",
        f"python {COMMAND_FILE} scans/ to=read/ formats=musicxml,mei",
        f"python {COMMAND_FILE} --help",
    ]
    return "This folder is enough; nothing else of the project is needed.\n\n```sh\n" + "\n".join(lines) + "\n```"


def _sources(card: ModelCard) -> Mapping[str, int]:
    """The corpora with their staves: of all of the training data where that is still there, else of the validation."""
    if card.corpus is not None:
        return card.corpus.sources
    counts = card.it.samples["source"].value_counts().to_pylist()
    return {one["values"]: one["counts"] for one in counts}


def _training_data(card: ModelCard) -> str:
    corpus = card.it.study.corpus
    alike: dict[tuple[str, str], list[str]] = {}
    for source, staves in sorted(_sources(card).items()):
        known = terms(source)
        alike.setdefault((known.says, known.found or "-"), []).append(f"{known.corpus} ({code(source)}, {staves:,})")
    rows = [("; ".join(names), *said) for said, names in alike.items()]
    if card.corpus is None:
        of = "validation staves"
        note = "The corpus itself is not at hand any more: these are the sources of its validation staves."
    else:
        of = "staves"
        splits = ", ".join(
            f"{count.staves:,} {name} ({count.works:,} works)" for name, count in card.corpus.splits.items()
        )
        leaked = card.corpus.leakage.music
        note = f"Splits: {splits}. Validation and test staves whose music also stands in train: {leaked:,}."
    head = f"Corpus {corpus.name}, content hash `{corpus.hash}`. {note}"
    footer = "Terms are what was found where the last column says, and no legal advice."
    return f"{head}\n\n{table([f'corpus (source, {of})', 'terms of use', 'found in'], rows)}\n\n{footer}"


def _training(card: ModelCard) -> str:
    train, optimizer = card.it.training.train, card.it.training.optimizer
    rows = [
        ("epochs", f"{card.it.epoch['epoch']} of {train.epochs}"),
        ("staves seen", f"{card.it.epoch['samples_seen']:,.0f}"),
        ("batch", f"{train.batch_size} x {train.accumulation}"),
        ("learning rate", f"{optimizer.learning_rate:g}, {optimizer.schedule}"),
        ("weight decay", f"{optimizer.weight_decay:g}"),
        ("precision", train.precision),
        ("camera effects", f"{train.mix.distortion:g}" if train.mix.distortion else "none"),
        ("seed", str(card.it.trial.seed)),
    ]
    return f"{table(['', ''], rows)}\n\nEverything else is in `config.json`."


def _evaluation(card: ModelCard) -> str:
    parts = [
        rates(card.it.study, card.it.trial, card.it.epoch, card.it.samples),
        by_source(card.it.samples),
        f"![Symbol error rate and loss by epoch]({CURVE_FILE})",
    ]
    if ATTENTION_FILE in card.files:
        parts.append(f"![Where the decoder looks in a staff of median difficulty, symbol by symbol]({ATTENTION_FILE})")
    parts.append(f"**What the study has shown.** {card.it.report.verdict()}")
    parts.append(f"**Read back.** {_read_back(card.tried)}")
    return "\n\n".join(part for part in parts if part)


def _read_back(tried: TriedOut) -> str:
    """What came of reading with the exported weights."""
    told = [
        _compared(one, by) for one, by in ((tried.torch, "PyTorch"), (tried.onnx, "onnxruntime")) if one is not None
    ]
    return " ".join([*told, *(f"{remark.rstrip('.')}." for remark in tried.remarks)])


def _compared(found: ReadBack, by: str) -> str:
    staves = (
        f"Before this folder was written, its weights read {found.staves} validation staves again with {by} on a CPU"
    )
    if found.equal == found.staves:
        return f"{staves}: symbol for symbol what the search had recorded."
    return (
        f"{staves}: {found.equal} as the search had recorded them, the others with {found.different} of "
        f"{found.symbols} symbols different, which another device or precision explains if they are few."
    )


def _environment(card: ModelCard) -> str:
    rows = [
        ("hardware", _hardware(card)),
        ("this training", _time(card.it.row["seconds"])),
        ("of it on a GPU", _time(card.it.row["gpu_seconds"])),
        ("energy of the device (trainings that share it each count all of it)", _energy(card.it.epochs)),
    ]
    notes = "The search that it comes out of trained other models, too. What it emitted depends on the grid."
    return f"{table(['', ''], rows)}\n\n{notes}"


def _hardware(card: ModelCard) -> str:
    made = card.it.study.provenance.hardware
    return ", ".join(made.gpus) or f"{made.cpu}, {made.cores} cores"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _energy(epochs: pa.Table) -> str:
    """Of the GPU, or of the processor that trained it, where the machine told it."""
    values = epochs["energy_joules"].to_pylist() if "energy_joules" in epochs.column_names else []
    if not values or None in values:
        return "not told by the machine"
    return f"{sum(values) / JOULES_PER_KILOWATT_HOUR:.3f} kWh"


def _architecture(config: TrainingConfig) -> str:
    model = config.model
    rows = [
        ("backbone", f"{model.backbone.family}, layers {'/'.join(map(str, model.backbone.layers))}"),
        ("encoder", f"depth {model.encoder.depth}, {model.encoder.heads} heads, width {model.embedding}"),
        ("decoder", f"depth {model.decoder.depth}, {model.decoder.heads} heads, width {model.embedding}"),
        ("loss", f"alpha {config.loss.alpha:g}, beta {config.loss.beta:g}"),
    ]
    return table(["", ""], rows)


def _licence(card: ModelCard) -> str:
    non_commercial = sorted(source for source in _sources(card) if "NON-COMMERCIAL" in terms(source).says)
    warning = ""
    if non_commercial:
        names = ", ".join(code(source) for source in non_commercial)
        warning = f" Part of the training data may be used non-commercially only ({names})."
    return (
        f"The code is under the Apache License 2.0 (`code/{LICENCE_FILE}`). Nobody has said under which licence the "
        "weights are: whoever passes them on has to, after a look at the terms of the training data "
        f"above.{warning}"
    )


def parameters(weights: Path) -> int | None:
    """How many numbers a safetensors file holds; None if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="numpy") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 (it is no mapping)
    except SafetensorError:
        return None
    total = 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        total += size
    return total
