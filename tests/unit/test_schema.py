import subprocess
import sys

import pyarrow as pa
import pytest

from results.schema import EPOCHS, ERROR_CLASSES, IMPORTANCE, RUNGS, SAMPLES, TRIALS, describe, parameter_column

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
