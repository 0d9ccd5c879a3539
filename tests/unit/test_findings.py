import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.cautions import Caution
from results.evidence import decisions_of
from results.fidelity import Fidelity
from results.findings import MOST_LINES, WIDTH, Findings, findings, text, write_findings
from results.gather import gather
from results.importance import Cell, Importance, Knob
from results.ranking import rank
from results.report_sections import (
    cautions_section,
    doubt,
    fidelity_section,
    importance_section,
    ranking_table,
    real_effects,
    scientific,
)
from results.schema import ERROR_CLASSES, IMPORTANCE, RUNGS
from results.study import read_study, write_study
from results.verdict import decision_text, how_decided
from search.config import ParameterConfig, SpaceConfig
from tests.studies import FakeTrial, make_study

DROPOUT = "model.decoder.dropout"
SHARES = {f"ser_class_{name}": 0.0 for name in ERROR_CLASSES}


def moved(number: int) -> FakeTrial:
    """More dropout, more accidentals; the order of the trials turns round after the first epoch."""
    value = number / 24
    ser = 0.2 + 0.2 * value
    rests = 0.01 * (number * 7 % 11)  # in no order
    classes = SHARES | {"ser_class_accidentals": 0.2 * value, "ser_class_rests": rests, "ser_class_notes": 0.2 - rests}
    origin = "" if number else "base"
    return FakeTrial(number, (0.9 - ser, ser, ser), params={DROPOUT: value / 2}, more=classes, origin=origin)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose base is the best, whose second trial was repeated twice beside it."""
    again = [
        FakeTrial(25 + n, (0.5, 0.3, ser), repeats=repeats, seed=seed, params={DROPOUT: 0.0})
        for n, (repeats, seed, ser) in enumerate([(0, 7, 0.20), (1, 7, 0.22), (0, 8, 0.22), (1, 8, 0.24)])
    ]
    made = make_study(tmp_path_factory.mktemp("studies"), [*map(moved, range(25)), *again])
    space = {"dropout": ParameterConfig(target=DROPOUT, low=0.0, high=0.5)}
    config = {
        "space": dataclasses.asdict(SpaceConfig(parameters=space)),
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2, "adapt": False},
    }
    write_study(made, dataclasses.replace(read_study(made), config=config))
    return made


@pytest.fixture(scope="module")
def found(folder: Path) -> Findings:
    return findings(folder)


def test_a_study_says_what_it_has_shown(found: Findings) -> None:
    assert {cell.metric for cell in found.importance.knobs[0].cells if cell.real} >= {"ser", "ser_class_accidentals"}
    assert found.fidelity.rungs[0].tau == pytest.approx(-1)
    assert {caution.name for caution in found.cautions} >= {"stopping early", "corpus"}
    assert [(one.candidate, one.base) for one in found.decisions] == [(1, 0)]


def test_the_terminal_has_the_verdict_first_and_no_more_than_a_screen(found: Findings) -> None:
    lines = text(found).splitlines()
    assert " ".join(text(found).split()).startswith(found.verdict)
    assert lines[0].startswith(("Adopt trial 1", "Reject trial 1", "Undecided: trial 1"))
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= WIDTH
    assert "scheduler.adapt=true" in " ".join(lines)
    many = dataclasses.replace(found, cautions=tuple(Caution("", "Beware. " * 60) for _ in range(9)))
    assert len(text(many).splitlines()) == MOST_LINES


def test_without_repeats_there_is_no_verdict(found: Findings) -> None:
    assert text(dataclasses.replace(found, verdict="", decisions=())).startswith("No verdict")
    assert "No verdict" not in text(found)


def test_a_verdict_is_told_once(found: Findings) -> None:
    told = " ".join(text(found).split())
    assert told.count(decision_text(found.decisions[0])) == told.count(how_decided(found.decisions)) == 1


def test_the_tables_are_as_their_schemas_say(folder: Path, found: Findings) -> None:
    write_findings(folder, found)
    importance, rungs = (pq.read_table(folder / "reports" / f"{name}.parquet") for name in ("importance", "rungs"))
    for table, schema in ((importance, IMPORTANCE), (rungs, RUNGS)):
        assert table.schema.remove_metadata().equals(schema.remove_metadata())
        assert table.schema.field(1).metadata == schema.field(1).metadata
    assert rungs.to_pylist()[0]["tau_high"] == pytest.approx(-1)
    assert pa.compute.unique(importance["parameters"]).to_pylist() == [DROPOUT]
    noise = importance.filter(pa.compute.field("chance") > 0.05)
    assert noise.num_rows
    assert noise["share_low"].null_count == noise.num_rows


def test_nothing_found_is_said_too(tmp_path: Path) -> None:
    folder = make_study(tmp_path, [FakeTrial(0, (0.9, 0.5))])
    found = findings(folder)
    write_findings(folder, found)
    assert pq.read_table(folder / "reports" / "importance.parquet").num_rows == 0
    assert "Which settings matter: too few trials to say" in text(found)
    unknown = "cannot be judged: needs 5 trials trained to the end with different SERs; there are 1."
    assert f"Whether stopping early misleads {unknown}" in " ".join(text(found).split())
    assert importance_section(found.importance, found.fidelity) == ""
    assert "unknown" in fidelity_section(found.fidelity)


def test_repeats_stand_beside_the_trial_they_repeat(folder: Path) -> None:
    study, tables = read_study(folder), gather(folder)
    ranking, [decision] = rank(tables.trials), decisions_of(study, tables)
    rows = [line.split(" | ") for line in ranking_table(study, ranking, [decision]).splitlines() if line[:2] == "| "]
    assert len(rows) == 2 + 25
    assert rows[0][4:8] == ["SER in the search", "95 % interval", "trained again", "mean SER"]
    ours = {row[1]: row[6:8] for row in rows[2:]}
    assert ours["0 (base)"] == ["3 seeds", f"{100 * decision.base_ser:.1f} %"]
    assert ours["1"] == ["2 new seeds", f"{100 * decision.ser:.1f} %"]  # not the run that it was picked by
    assert ours["2"] == ["", ""]
    assert "| 0 to 0.1667 (base) | 9 | 9 |" in scientific(study, ranking)


def test_without_repeats_the_ranking_has_no_column_for_them(tmp_path: Path) -> None:
    folder = make_study(tmp_path, [FakeTrial(0, (0.9, 0.5)), FakeTrial(1, (0.9, 0.4))])
    assert "trained again" not in ranking_table(read_study(folder), rank(gather(folder).trials)).splitlines()[0]


def test_the_sections_of_the_report(found: Findings) -> None:
    moving = importance_section(found.importance, found.fidelity)
    assert "after epoch 3 (the end)" in moving  # nobody was stopped
    assert f"| parameter | SER | {' | '.join(n for n in ERROR_CLASSES if n == 'accidentals')}" in moving
    assert "100 % (" in moving
    assert "accidentals lowest at 0 to 0.1667, highest at 0.3333 to 0.5" in moving
    early = fidelity_section(found.fidelity)
    assert "| 1 | 25 | -1.00 | -1.00 to -1.00 | -1.00 | 8 of 8 |" in early
    assert found.fidelity.warning in early
    assert cautions_section(found.cautions).count("\n- ") == len(found.cautions) - 1


def test_cells_of_noise_are_not_shown() -> None:
    def cell(metric: str, chance: float) -> Cell:
        return Cell(metric, 0.62, 0.5, 0.7, 0.1, chance, 0.021, 0.01, 0.03, "0 to 0.2", "0.4 to 0.6")

    knob = Knob((DROPOUT,), 20, (cell("ser", 0.06), cell("ser_lift", 0.01), cell("ser_class_rests", 0.04)))
    calm = Fidelity("asha", True, 2, 0, (), "")
    early = Importance("early", 4, 30, (knob,), "the first rung")
    shown = importance_section(early, calm)
    assert "after epoch 4 (the first rung)" in shown
    assert "may not hold at the end" not in shown
    assert "may not hold at the end" in importance_section(early, dataclasses.replace(calm, warning="It turned."))
    assert doubt(dataclasses.replace(early, basis="final"), dataclasses.replace(calm, warning="It turned.")) == ""
    assert f"| `{DROPOUT}` (20) | - | 62 % (2.1 points) |" in shown
    assert "| parameter | SER | rests |" in shown
    assert real_effects(Importance("early", 4, 30, (knob,)))[0].count("lowest at") == 2


def test_what_was_stopped_early_is_said_to_narrow_the_correlation(found: Findings) -> None:
    narrowed = Fidelity("asha", True, 2, 7, found.fidelity.rungs, "")
    assert "as 7 others were stopped before" in fidelity_section(narrowed)
    assert "others were stopped" not in fidelity_section(found.fidelity)
