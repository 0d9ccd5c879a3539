import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from results.schema import (
    EPOCHS,
    ERROR_CLASSES,
    IMPORTANCE,
    RUNGS,
    SAMPLES,
    TABLES,
    TRIALS,
    as_markdown,
    command,
    describe,
    parameter_column,
)

PROMISED = {  # by the design: more columns may join, these keep their names
    "trials": (
        TRIALS,
        "study trial_id number state ser ser_low ser_high log_ser epochs seconds gpu_seconds peak_memory_bytes seed",
    ),
    "epochs": (
        EPOCHS,
        "study trial_id epoch train_loss validation_loss ser ser_rhythm ser_pitch ser_lift learning_rate "
        "samples_per_second seconds peak_memory_bytes",
    ),
    "samples": (
        SAMPLES,
        "study trial_id epoch staff_id work source distance reference_length prediction reference",
    ),
}


@pytest.mark.parametrize("table", PROMISED)
def test_promised_columns_are_there(table: str) -> None:
    schema, names = PROMISED[table]
    assert set(names.split()) <= set(schema.names)


@pytest.mark.parametrize("schema", [TRIALS, EPOCHS, SAMPLES, IMPORTANCE, RUNGS])
def test_every_column_is_named_once_and_described(schema: pa.Schema) -> None:
    assert len(set(schema.names)) == len(schema.names)
    for field in schema:
        assert field.metadata[b"description"].endswith(b"."), field.name
        assert b"unit" in field.metadata


def test_error_classes_and_branches_do_not_share_columns() -> None:
    assert {"ser_rhythm", "ser_class_rhythm"} <= set(EPOCHS.names)
    assert {f"distance_{name}" for name in ERROR_CLASSES} <= set(SAMPLES.names)


def test_a_parameter_keeps_its_target() -> None:
    assert parameter_column("model.decoder.dropout", pa.float64()).name == "params.model.decoder.dropout"


def test_the_command_prints_every_column() -> None:
    command = [sys.executable, "-m", "results.schema"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == describe() + "\n"
    words = set(printed.split())
    assert {*TRIALS.names, *EPOCHS.names, *SAMPLES.names, "params.<target>"} <= words


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        command(words)
    return int(caught.value.code or 0)


def test_the_command_prints_the_tables_that_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rungs", "trials") == 0
    assert capsys.readouterr().out == describe(["rungs", "trials"]) + "\n"
    assert run("--help") == 0
    assert "python -m results.schema trials" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "trails",
            "unknown table 'trails'; choose trials, epochs, samples, importance, rungs (did",
        ),
        ("table=trials", "table: no such field; there are to"),
        ("to=tables.html", "to=tables.html: the file's name must end in .md"),
    ],
)
def test_what_is_no_table_is_refused(word: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(word) == 2
    assert f"error: {message}" in capsys.readouterr().err


def test_the_documentation_has_the_tables_as_they_are(tmp_path: Path) -> None:
    written = tmp_path / "new" / "tables.md"
    assert run(f"to={written}") == 0
    documented = Path(__file__).parents[2] / "docs" / "reference" / "tables.md"
    told = "it is out of date: python -m results.schema to=docs/reference/tables.md"
    assert documented.read_bytes() == written.read_bytes() == as_markdown().encode(), told


def test_no_text_breaks_a_markdown_table() -> None:
    for _, fields in TABLES.values():
        for field in fields:
            assert not set("|\n") & set(f"{field.name}{field.metadata[b'description'].decode()}")
