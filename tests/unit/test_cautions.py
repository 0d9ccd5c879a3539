import dataclasses
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from results.cautions import Caution, cautions
from results.evidence import Decision
from results.fidelity import Fidelity
from results.gather import Tables
from results.journal import SessionStarted
from results.replay import Replay
from results.samples import LoadedSamples
from results.schema import SAMPLES
from results.study import CorpusRecord, StudyRecord, from_json, to_json
from results.tables import StandingEpochs, epochs_table, trials_table
from search.config import ParameterConfig, SpaceConfig
from tests.studies import FakeTrial, events_of, study_record

DROPOUT, RATE = "model.decoder.dropout", "optimizer.learning_rate"
SPACE = {
    "dropout": ParameterConfig(target=DROPOUT, low=0.0, high=0.5),
    "rate": ParameterConfig(target=RATE, low=1e-5, high=1e-2, log=True),
}
SOUND = Fidelity("asha", True, 2, 0, (), "")


def study(corpus: Path = Path("nowhere"), space: dict[str, ParameterConfig] = SPACE) -> StudyRecord:
    record = dataclasses.replace(
        study_record(),
        roles={one.target: one.role for one in space.values()},
        config={"space": dataclasses.asdict(SpaceConfig(parameters=space))},
        corpus=CorpusRecord("engraved", str(corpus), "0123456789abcdef"),
    )
    return from_json(to_json(record))


def fake(number: int, *sers: float, dropout: float = 0.2, rate: float = 1e-4, **fields: Any) -> FakeTrial:
    return FakeTrial(number, sers or (0.5, 0.4), params={DROPOUT: dropout, RATE: rate}, **fields)


BASE = fake(0, 0.6, 0.5, origin="base")
DECIDED = Decision(
    candidate=2, base=0, verdict="adopt", difference=-0.1, low=-0.2, high=-0.01, rounds=2, needed="", seeds=2,
    base_seeds=3, ser=0.4, base_ser=0.5, base_diverged=0, contenders=2, seed_spread=0.01, works_error=0.01,
)  # fmt: skip


def found(*trials: FakeTrial, record: StudyRecord | None = None, **fields: Any) -> list[Caution]:
    standing = StandingEpochs(Replay(event for trial in trials for event in events_of(trial)))
    tables = Tables(
        trials=trials_table(standing, "demo", [], {}),
        epochs=epochs_table(standing, "demo"),
        samples=LoadedSamples(pa.Table.from_pylist(fields.pop("samples", []), schema=SAMPLES)),
        missing_samples=0,
        sessions=tuple(fields.pop("sessions", ())),
    )
    told: dict[str, Any] = {"fidelity": SOUND, "decisions": [], **fields}
    return cautions(record or study(), tables, **told)


def said(name: str, *trials: FakeTrial, **fields: Any) -> str:
    """The one text of a kind; "" if there is none."""
    texts = [caution.text for caution in found(*trials, **fields) if caution.name == name]
    assert len(texts) <= 1
    return texts[0] if texts else ""


def test_a_best_trial_near_the_end_of_its_range_is_told_with_the_word_that_widens_it() -> None:
    text = said("edge", BASE, fake(1, dropout=0.495))
    assert f"`{DROPOUT}` 0.495" in text
    assert "0 to 0.5" in text
    assert "space.parameters.dropout.high" in text
    assert said("edge", BASE, fake(1, dropout=0.48)) == ""


def test_an_edge_is_one_of_the_scale_that_is_searched() -> None:
    assert "space.parameters.rate.low" in said("edge", BASE, fake(1, rate=1.1e-5))
    assert said("edge", BASE, fake(1, rate=5e-5)) == ""  # 0.4 % of the range, 23 % of its logarithm


def test_an_end_at_zero_and_the_value_of_the_base_are_no_edges() -> None:
    assert said("edge", BASE, fake(1, dropout=0.0)) == ""
    assert said("edge", fake(0, 0.6, 0.5, dropout=0.5, origin="base"), fake(1, dropout=0.5)) == ""


def test_too_few_trials_for_the_parameters() -> None:
    few = [BASE, *(fake(number) for number in range(1, 19))]
    assert "19 trials for 2 parameters" in said("few trials", *few)
    assert "extend=+1." in said("few trials", *few)
    assert said("few trials", *few, fake(19)) == ""
    assert said("few trials", *few, fake(19, repeats=1))
    assert said("few trials", *few, fake(19, state="failed"))


@pytest.mark.parametrize(("spread", "warned"), [(0.1, True), (0.036, True), (0.035, False), (0.005, False)])
def test_seeds_that_differ_as_much_as_settings(spread: float, warned: bool) -> None:
    """Three settings with a seed each spread by 5 points, which holds the seeds' spread, too."""
    settings = [BASE, fake(1, 0.6, 0.45), fake(2, 0.6, 0.4)]
    text = said("seeds", *settings, decisions=[dataclasses.replace(DECIDED, seed_spread=spread)])
    assert bool(text) == warned
    assert (f"{100 * spread:.1f} points over its seeds" in text) == warned


def test_without_seeds_enough_nothing_is_told_of_them() -> None:
    unknown = dataclasses.replace(DECIDED, difference=math.nan, seed_spread=0.3)
    settings = [BASE, fake(1, 0.6, 0.45), fake(2, 0.6, 0.4)]
    assert said("seeds", *settings, decisions=[unknown]) == ""
    assert said("seeds", *settings) == ""


def test_the_trial_that_the_study_ends_with_is_the_one_that_is_warned_of() -> None:
    trials = [BASE, fake(1, dropout=0.495), fake(2, 0.5, 0.45)]
    assert "edge of its range" in said("edge", *trials)
    assert said("edge", *trials, decisions=[DECIDED]) == ""


def test_a_validation_loss_that_rises_while_the_training_loss_falls() -> None:
    """`tests.studies.metrics`: a validation loss of 0.9 SER + 0.01 an epoch, a training loss of 0.72 SER."""
    sers = (0.5, 0.3, 0.299, 0.298, 0.297, 0.296)
    text = said("training", fake(0, *sers))
    assert "since epoch 2" in text
    assert "overfits" in text
    assert said("training", fake(0, *sers[:3])) == ""


def test_a_ser_that_still_falls() -> None:
    assert "train.epochs" in said("training", fake(0, 0.9, 0.8, 0.6, 0.45))
    assert said("training", fake(0, 0.9, 0.5, 0.49, 0.485)) == ""


def test_many_lost_trials() -> None:
    kept = [fake(number) for number in range(3)]
    assert "1 diverged and 1 failed" in said("lost trials", *kept, fake(3, state="diverged"), fake(4, state="failed"))
    assert said("lost trials", *kept, fake(3), fake(4, state="failed")) == ""


def test_a_corpus_that_is_gone_and_one_that_changed(tmp_path: Path) -> None:
    from datasets.manifest import FORMAT, Leakage, Manifest, Settings

    assert "no longer at" in said("corpus", BASE)

    settings = Settings(data="engraved", staff="small", seed=0, limit=None, recipe=1, root=None, options={})
    manifest = Manifest(
        format=FORMAT, settings=settings, height=64, width=256, content_hash="0123456789abcdef", splits={}, sources={},
        rejects={}, leakage=Leakage(labels=0, music=0), pieces=0, remarks=(), shards=(), versions={}, seconds=0.0,
    )  # fmt: skip
    manifest.write(tmp_path)
    assert said("corpus", BASE, record=study(tmp_path)) == ""
    dataclasses.replace(manifest, content_hash="fedcba9876543210").write(tmp_path)
    assert "was 0123456789ab and is fedcba987654" in said("corpus", BASE, record=study(tmp_path))


def test_code_that_changed_on_the_way() -> None:
    first = SessionStarted(1, "run 77", "search", {}, [], 0.0)
    second = dataclasses.replace(first, session=2, changes=["the code is run 78"])
    text = said("code", BASE, sessions=[first, second])
    assert "Session 2" in text
    assert "the code is run 78" in text
    assert said("code", BASE, sessions=[first]) == ""


def test_a_base_that_is_missing_or_was_not_trained_to_the_end() -> None:
    assert "no trial of the base" in said("base", fake(1))
    assert "(failed, epochs: 1)" in said("base", dataclasses.replace(BASE, sers=(0.6,), state="failed"), fake(1))
    assert said("base", BASE, fake(1)) == ""


def test_samples_that_are_gone_of_what_was_trained_to_the_end() -> None:
    rows = [{"trial_id": BASE.trial_id, "epoch": 2}, {"trial_id": fake(2).trial_id, "epoch": 1}]
    made = [BASE, fake(1, 0.5, state="pruned"), fake(2), fake(3, repeats=2)]
    assert "What trials 2, 3 read" in said("samples", *made, samples=rows)
    assert said("samples", *made[:2], samples=rows) == ""


def test_what_the_rungs_say_is_passed_on_and_nothing_else_is_made_up() -> None:
    warned = dataclasses.replace(SOUND, warning="Compare later.")
    assert said("stopping early", BASE, fidelity=warned) == "Compare later."
    rows = [{"trial_id": BASE.trial_id, "epoch": 2}]
    assert {caution.name for caution in found(BASE, samples=rows)} == {"corpus", "few trials"}


def test_a_study_that_has_just_begun_is_warned_of_without_fault() -> None:
    assert found()
    assert found(FakeTrial(0, (), None, params={DROPOUT: 0.1, RATE: 1e-4}))
