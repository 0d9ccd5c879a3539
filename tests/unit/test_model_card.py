"""The model card says what is known, and says so where nothing is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from safetensors.numpy import save_file

from datasets.licences import TERMS, UNKNOWN, terms
from datasets.manifest import Leakage, Manifest, Settings, SplitCounts
from datasets.sources import SOURCES
from datasets.sources.engraved import COLLECTIONS, SCORES
from datasets.sources.keyboard import CHORALES, PIANO
from results.exported import ExportedTrial, collect
from results.model_card import ModelCard, parameters
from results.read_back import ReadBack, TriedOut, _handful
from tests.studies import FakeTrial, make_study

NOTHING_TRIED = TriedOut(None, None, ())


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> ExportedTrial:
    """A trial with a SER of 20 %."""
    studies = tmp_path_factory.mktemp("studies")
    return collect(
        make_study(studies, [FakeTrial(0, (0.5, 0.4, 0.3), origin="base"), FakeTrial(1, (0.5, 0.3, 0.2))]), ""
    )


def manifest(sources: dict[str, int], staff: str = "short") -> Manifest:
    """Of a corpus with these sources."""
    return Manifest(
        format=2,
        settings=Settings(data="any", staff=staff, seed=0, limit=None, recipe=1, root=None, options={}),
        height=64,
        width=256,
        content_hash="0123456789abcdef",
        splits={"train": SplitCounts(staves=90, works=30), "validation": SplitCounts(staves=10, works=4)},
        sources=sources,
        rejects={},
        leakage=Leakage(labels=1, music=3),
        pieces=34,
        remarks=(),
        shards=(),
        versions={},
        seconds=1.0,
    )


def card(it: ExportedTrial, corpus: Manifest | None = None, tried: TriedOut = NOTHING_TRIED, **more: object) -> str:
    fields = {"parameters": 1234567, "files": ("README.md", "predict.py")} | more
    return ModelCard(it, corpus, tried=tried, **fields).text()  # type: ignore[arg-type]


def test_rates_come_first_and_limits_are_generated(it: ExportedTrial) -> None:
    text = card(it, manifest({"cpms": 60, "grandstaff": 40}))
    assert "It reads a picture of one staff of printed music (128 x 1280 pixels)" in text
    assert "Of 100 symbols it gets some 20 wrong" in text
    assert "is 20.0 % (95 % interval" in text
    assert "| parameters | 1,234,567 |" in text
    assert "| errors in pitch | " in text
    assert "It writes at most 255 symbols" in text
    assert "has never seen a photograph" not in text
    assert "It has seen no picture without music" in text
    assert "Splits: 90 train (30 works), 10 validation (4 works)." in text
    assert "staves whose music also stands in train: 3." in text


def test_a_model_of_engravings_says_that_it_has_seen_no_photograph(it: ExportedTrial) -> None:
    text = card(it, manifest({"essenFolksong": 70, "oneills1850": 20, "diw": 10}, staff="grand"))
    assert "a piano's two staves" in text
    assert "has never seen a photograph or a scan" in text
    assert "It has seen no picture without music" not in text


def test_terms_are_told_and_warned_of(it: ExportedTrial) -> None:
    text = card(it, manifest({"essenFolksong": 70, "oneills1850": 20, "ryansMammoth": 10}))
    assert "| Essen folksong collection, as music21 ships it (`essenFolksong`, 70) | NON-COMMERCIAL" in text
    both = "O'Neill's Music of Ireland, as music21 ships it (`oneills1850`, 20); Ryan's Mammoth Collection, as music21"
    assert f"| {both} ships it (`ryansMammoth`, 10) | distributed with music21" in text
    assert "Part of the training data may be used non-commercially only (`essenFolksong`)." in text
    assert "non-commercially only" not in card(it, manifest({"oneills1850": 20}))


def test_a_corpus_that_is_gone_is_told_by_its_validation_staves(it: ExportedTrial) -> None:
    text = card(it)
    assert "The corpus itself is not at hand any more" in text
    assert f"| engraved (`engraved`, {it.samples.num_rows}) | {UNKNOWN} | - |" in text


@pytest.mark.parametrize(
    ("tried", "said"),
    [
        (TriedOut(ReadBack(9, 9, 80, 0), None, ()), "read 9 validation staves again with PyTorch on a CPU: symbol for"),
        (
            TriedOut(ReadBack(9, 7, 80, 3), None, ()),
            "7 as the search had recorded them, the others with 3 of 80",
        ),
        (TriedOut(None, ReadBack(9, 9, 80, 0), ()), "again with onnxruntime on a CPU: symbol for symbol"),
        (TriedOut(None, None, ("The weights were not read back: why",)), "The weights were not read back: why."),
    ],
)
def test_it_says_what_came_of_reading_back(it: ExportedTrial, tried: TriedOut, said: str) -> None:
    assert said in card(it, tried=tried)


def test_energy_is_told_where_the_machine_told_it(it: ExportedTrial) -> None:
    row = "energy of the device (trainings that share it each count all of it)"
    assert f"| {row} | not told by the machine |" in card(it)
    bare = it.epochs.drop_columns([name for name in it.epochs.column_names if name == "energy_joules"])
    told = bare.append_column("energy_joules", pa.array([1.2e6] * bare.num_rows))
    assert f"| {row} | 1.000 kWh |" in card(dataclasses.replace(it, epochs=told))


def test_a_trial_that_was_not_trained_to_its_end_is_called_so_at_the_top(it: ExportedTrial) -> None:
    stopped = dataclasses.replace(it.trial, state="pruned", epochs=2)
    said = f"It was not trained to its end: pruned after epoch 2 of {it.study.max_epochs}."
    assert said in card(dataclasses.replace(it, trial=stopped)).split("## ")[0]
    assert "not trained to its end" not in card(it)


def test_the_logs_figure_is_told_of_the_logs_own_photographs_alone(it: ExportedTrial) -> None:
    row = "as the training log measured it"
    assert row not in card(it)
    rows = [it.samples.to_pylist()[0] | {"source": "photographed", "work": str(staff % 3)} for staff in range(71)]
    table = pa.Table.from_pylist(rows, schema=it.samples.schema)
    assert row in card(dataclasses.replace(it, samples=table))
    assert row not in card(dataclasses.replace(it, samples=table.slice(1)))


def test_the_front_matter_is_yaml_whatever_the_names(it: ExportedTrial) -> None:
    name = 'a: "b" \\ | - {c}: ü <script> #'
    study = dataclasses.replace(it.study, name=name, corpus=dataclasses.replace(it.study.corpus, name=name))
    front = card(dataclasses.replace(it, study=study)).split("---\n")[1]
    [model] = yaml.safe_load(front)["model-index"]
    assert model["name"] == f"TrOMR, study {name}, trial 1"
    assert model["results"][0]["dataset"]["type"] == name
    assert model["results"][0]["metrics"][0]["value"] == pytest.approx(0.2)


def test_every_source_of_ours_has_been_looked_up() -> None:
    ours = {*SOURCES, *COLLECTIONS, CHORALES, PIANO, SCORES} - {"engraved"}  # whose staves have their collection's name
    assert ours == set(TERMS)
    assert all(one.found.startswith(("https://", "corpus/")) for one in TERMS.values() if "whoever" not in one.says)
    assert terms("somebody's").says == UNKNOWN


def test_parameters_are_counted_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.zeros((3, 4), dtype=np.float32), "b": np.zeros((), dtype=np.int64)}, path)
    assert parameters(path) == 13
    path.write_bytes(b"nothing")
    assert parameters(path) is None


def test_the_staves_that_are_read_again_begin_with_the_median(it: ExportedTrial) -> None:
    rows = _handful(it.samples)
    rates = [int(row["distance"]) / int(row["reference_length"]) for row in rows]
    assert len({row["staff_id"] for row in rows}) == len(rows) == 9
    assert rates[0] == sorted(rates)[4]
    assert rates[1:] == sorted(rates[1:])
    assert _handful(it.samples.slice(0, 0)) == []
