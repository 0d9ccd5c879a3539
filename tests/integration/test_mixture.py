"""Several corpora as one: what a mixture holds, when it is made anew, and what is said where a part is missing."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.command_line import parse
from datasets.errors import ConfigError, CorpusError
from datasets.inspect import InspectConfig
from datasets.inspect import run as inspect
from datasets.manifest import FILE_NAME, Manifest
from datasets.mixture import MIXTURES, mix, parts_of
from datasets.pixels import pictures_of
from datasets.prepare import prepare, summary
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus
from datasets.sources import SOURCES
from omr_model import checkpoint
from omr_model.config import MixConfig
from omr_model.evaluate import EvaluateJob, evaluate
from omr_model.evaluate import summary as evaluation_summary
from omr_model.fits import check_labels
from omr_model.train import default_job
from omr_model.trainer import Trainer
from search.compose import compose
from search.corpus import planned_corpus, preparation
from tests.handmade import of_source, strips, write_corpus
from tests.models import SMALL, training

MIXTURE = "camera_primus+cpms+diw"


@pytest.fixture
def home(corpus: PreparedCorpus, tmp_path: Path) -> Path:
    """Three prepared corpora, two of them with staves of the same names, one without music."""
    folder = tmp_path / "corpora"
    write_corpus(folder, "camera_primus", of_source(corpus, "camera_primus", slice(0, 20), slice(0, 3)))
    write_corpus(folder, "cpms", of_source(corpus, "cpms", slice(20, 30), slice(3, 6)))
    write_corpus(folder, "diw", strips(6, 4))
    return folder


@pytest.fixture
def mixture(home: Path) -> PreparedCorpus:
    return prepare(config(home), quiet=True)


def config(home: Path, **fields: object) -> PrepareConfig:
    return PrepareConfig(**{"data": MIXTURE, "staff": "short", "corpora": str(home), **fields})  # type: ignore[arg-type]


# Names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MIXTURES)
def test_the_parts_of_a_named_mixture_are_sources_of_single_staves(name: str) -> None:
    assert parts_of(name).keys() <= SOURCES.keys()
    assert all(1 in SOURCES[part].staves_an_image for part in parts_of(name))
    assert all(0 < weight <= 1 for weight in parts_of(name).values())


def test_a_mixture_of_the_moment_is_the_same_in_any_order() -> None:
    assert parts_of("engraved+cpms") == parts_of("cpms+engraved") == {"cpms": 1.0, "engraved": 1.0}
    assert parts_of("engraved") == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": "cpms+nosuch"}, "unknown data 'nosuch'; choose"),
        ({"data": "cpms+"}, "unknown data ''"),
        ({"data": "cpms+engraved+cpms"}, "cpms is named twice"),
        ({"data": "cpms+engraved", "mei": "yes"}, "mei=yes: not an option of any of cpms, engraved"),
        ({"data": "cpms+engraved", "root": "/nowhere"}, "by the names cpms, engraved; it holds none of them"),
        ({"data": "cpms+engraved", "staff": "grand"}, "staff=grand: not with data=cpms"),
    ],
)
def test_what_is_no_mixture_is_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("+", r"\+")):
        PrepareConfig(**fields)  # type: ignore[arg-type]


# Contents -------------------------------------------------------------------------------------------------


def test_a_mixture_is_its_parts_staves_and_copies_none(mixture: PreparedCorpus, home: Path) -> None:
    assert [path.name for path in mixture.path.iterdir()] == [FILE_NAME]
    assert {name: counts.staves for name, counts in mixture.manifest.splits.items()} == {
        "train": 36,
        "validation": 10,
        "test": 0,
    }
    assert mixture.manifest.sources == {"camera_primus": 23, "cpms": 13, "diw": 10}
    staves = mixture.staves("train")
    parts = [PreparedCorpus.open(home / f"{part}-short").staves("train") for part in parts_of(MIXTURE)]
    for staff, (name, own) in zip(staves, [(part.source(0), one) for part in parts for one in part], strict=True):
        assert (staff.source, staff.semantic) == (own.source, own.semantic)
        assert (staff.staff_id, staff.work) == (f"{name}/{own.staff_id}", f"{name}/{own.work}")
        assert np.array_equal(staff.image, own.image)
    assert staves.without_music() == list(range(30, 36))
    assert len({staff.staff_id for staff in staves}) == len(staves)


def test_a_mixture_is_the_same_wherever_it_is_and_however_its_parts_are_named(
    mixture: PreparedCorpus, home: Path, tmp_path: Path
) -> None:
    other = prepare(config(home, data="diw+cpms+camera_primus"), quiet=True)
    assert other.manifest.content_hash == mixture.manifest.content_hash
    moved = PreparedCorpus.open(shutil.copytree(home, tmp_path / "moved") / mixture.path.name)
    assert [staff.staff_id for staff in moved.staves("train")] == [staff.staff_id for staff in mixture.staves("train")]


def test_the_summary_names_the_parts(mixture: PreparedCorpus) -> None:
    lines = summary(mixture).splitlines()
    assert lines[0] == "46 staves (train 36, validation 10, test 0) of 64 x 256 pixels"
    assert lines[-4:] == ["made of", "  camera_primus, weight 1", "  cpms, weight 1", "  diw, weight 1"]


def test_music_that_one_part_trains_on_and_another_validates_on_is_counted(
    corpus: PreparedCorpus, tmp_path: Path
) -> None:
    write_corpus(tmp_path, "camera_primus", of_source(corpus, "camera_primus", slice(0, 10), slice(0, 2)))
    swapped = of_source(corpus, "cpms", slice(0, 4), slice(2, 4))
    write_corpus(tmp_path, "cpms", {"train": swapped["validation"], "validation": swapped["train"]})
    mixture = prepare(config(tmp_path, data="camera_primus+cpms"), quiet=True)
    assert (mixture.manifest.leakage.labels, mixture.manifest.leakage.music) == (4, 4)


# Made anew ------------------------------------------------------------------------------------------------


def test_a_mixture_that_is_there_is_opened(mixture: PreparedCorpus, home: Path) -> None:
    written = (mixture.path / FILE_NAME).stat().st_mtime_ns
    assert prepare(config(home), quiet=True).manifest == mixture.manifest
    assert (mixture.path / FILE_NAME).stat().st_mtime_ns == written


def test_a_part_that_was_prepared_anew_is_told_and_makes_the_mixture_anew(
    mixture: PreparedCorpus, home: Path, corpus: PreparedCorpus
) -> None:
    shutil.rmtree(home / "cpms-short")
    write_corpus(home, "cpms", of_source(corpus, "cpms", slice(20, 25), slice(3, 6)))
    with pytest.raises(CorpusError, match=r"its part cpms was prepared anew since; `python -m"):
        PreparedCorpus.open(mixture.path)
    again = prepare(config(home), quiet=True)
    assert again.manifest.content_hash != mixture.manifest.content_hash
    assert len(again.staves("train")) == len(mixture.staves("train")) - 5
    PreparedCorpus.open(again.path)


def test_a_mixture_made_anew_leaves_no_pictures_of_the_old_one(
    mixture: PreparedCorpus, home: Path, corpus: PreparedCorpus
) -> None:
    assert pictures_of(mixture.staves("train")) is not None
    shutil.rmtree(home / "cpms-short")
    write_corpus(home, "cpms", of_source(corpus, "cpms", slice(20, 25), slice(3, 6)))
    again = prepare(config(home), quiet=True)
    assert [path.name for path in again.path.iterdir()] == [FILE_NAME]


def test_a_part_of_the_same_staves_in_other_bytes_makes_the_mixture_anew(
    mixture: PreparedCorpus, home: Path, corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(home / "cpms-short")
    monkeypatch.setattr(
        "datasets.shards.encode_png",
        lambda image: bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]),
    )
    write_corpus(home, "cpms", of_source(corpus, "cpms", slice(20, 30), slice(3, 6)))
    again = prepare(config(home), quiet=True)
    assert again.manifest.content_hash == mixture.manifest.content_hash
    assert again.manifest.shards != mixture.manifest.shards
    PreparedCorpus.open(again.path)


def test_another_weight_makes_another_mixture(mixture: PreparedCorpus, home: Path) -> None:
    parts = [PreparedCorpus.open(home / f"{part}-short") for part in parts_of(MIXTURE)]
    other = mix(mixture.path, MIXTURE, parts, {"camera_primus": 0.5, "cpms": 1.0, "diw": 1.0})
    assert other.manifest.weights == {"camera_primus": 0.5, "cpms": 1.0, "diw": 1.0}
    assert other.manifest.content_hash != mixture.manifest.content_hash
    assert Manifest.read(mixture.path) == other.manifest


def test_damage_in_a_part_is_found_in_the_mixture(mixture: PreparedCorpus, home: Path) -> None:
    (home / "cpms-short" / "train-0000.arrow").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"train-0000\.arrow: 0 bytes long"):
        PreparedCorpus.open(mixture.path)


# Parts that are not prepared ------------------------------------------------------------------------------


def test_all_missing_parts_are_named_with_their_commands(home: Path) -> None:
    for name in ("cpms", "camera_primus"):
        shutil.rmtree(home / f"{name}-short")
    with pytest.raises(CorpusError) as caught:
        prepare(config(home), quiet=True)
    lines = str(caught.value).splitlines()
    assert lines[1:3] == [
        f"  python -m datasets.prepare data=camera_primus staff=short root=<folder or archive> corpora={home}",
        f"  python -m datasets.prepare data=cpms staff=short root=<folder or archive> corpora={home}",
    ]
    assert "by the names camera_primus, cpms" in lines[3]
    assert not (home / f"{MIXTURE}-short").exists()


def test_a_part_that_needs_no_files_is_prepared_first(home: Path) -> None:
    mixture = prepare(config(home, data="cpms+engraved", limit=12), quiet=True)
    assert Manifest.read(home / "engraved-short").staves == 12
    assert mixture.manifest.staves == 13 + 12


def test_the_root_of_a_mixture_holds_folders_and_archives_by_name(tmp_path: Path) -> None:
    (tmp_path / "cpms").mkdir()
    with tarfile.open(tmp_path / "Camera_PrIMuS.tgz", "w:gz"):
        pass
    parts = {part.data: part.root for part in PrepareConfig(data=MIXTURE, root=str(tmp_path)).parts}
    assert parts == {
        "camera_primus": str(tmp_path / "Camera_PrIMuS.tgz"),
        "cpms": str(tmp_path / "cpms"),
        "diw": "",
    }


def test_parts_that_are_there_are_taken_as_they_are_unless_the_words_say_otherwise(home: Path) -> None:
    assert prepare(config(home, limit=3, seed=1), quiet=True).manifest.staves == 46
    (home.parent / "files" / "cpms").mkdir(parents=True)
    with pytest.raises(CorpusError, match=r"cpms-short was prepared with other settings \(root=/where.* there, root="):
        prepare(config(home, root=str(home.parent / "files")), quiet=True)


# What reads corpora -------------------------------------------------------------------------------------


@pytest.fixture
def trainer(mixture: PreparedCorpus) -> Trainer:
    return Trainer(training(epochs=1, validation_staves=None), mixture)


def test_strips_are_trained_on_as_negatives_and_told_apart_in_the_scores(trainer: Trainer) -> None:
    plan = trainer.order.plan
    assert (plan.taken, plan.negatives) == ({"camera_primus": 20, "cpms": 10}, 6)
    [record] = trainer.fit()
    text = evaluation_summary(record.evaluation)
    assert "\n  cpms           " in text
    assert "symbols written per strip, on 4 without music" in text
    assert all(np.isfinite(value) for value in record.metrics().values())


def test_the_weights_of_a_mixture_reach_the_training(mixture: PreparedCorpus, home: Path) -> None:
    parts = [PreparedCorpus.open(home / f"{part}-short") for part in parts_of(MIXTURE)]
    halved = mix(mixture.path, MIXTURE, parts, {"camera_primus": 0.5, "cpms": 1.0, "diw": 1.0})
    plan = Trainer(training(mix=MixConfig(weights={"cpms": 2.0})), halved).order.plan
    assert plan.taken == {"camera_primus": 10, "cpms": 20}


def test_a_resumed_training_on_a_mixture_is_the_uninterrupted_one(mixture: PreparedCorpus, tmp_path: Path) -> None:
    config = training(epochs=2, validation_staves=None)
    whole = Trainer(config, mixture).fit()[-1]
    first = Trainer(config, mixture)
    first.fit(lambda record: record.epoch == 1 and checkpoint.save(first, record, tmp_path / "first"))
    resumed = Trainer(config, mixture)
    checkpoint.restore(resumed, tmp_path / "first")
    assert resumed.fit()[-1].losses == whole.losses


def test_a_corpus_of_strips_alone_is_refused_before_any_training(home: Path) -> None:
    diw = PreparedCorpus.open(home / "diw-short")
    for refuse in (lambda: check_labels(SMALL, diw.staves("train")), lambda: Trainer(training(), diw)):
        _assert_refused(refuse)


def _assert_refused(refuse: Callable[[], object]) -> None:
    with pytest.raises(CorpusError, match="have no music; mix the corpus with one that has"):
        refuse()


def test_an_evaluation_on_an_empty_split_says_that_it_is_empty(home: Path) -> None:
    with pytest.raises(CorpusError, match="cpms-short has no test staves; name another split="):
        evaluate(EvaluateJob(checkpoint="any", corpus=str(home / "cpms-short")))


def test_a_training_alone_names_its_corpus_as_the_preparation_does(home: Path) -> None:
    words = [f"data={MIXTURE}", f"corpora={home}", "preset=tiny", "limit=5", "split=work"]
    job = parse(default_job(words), words)
    assert job.preparation() == config(home, limit=5, split="work")


def test_a_sheet_of_a_mixture_can_be_drawn(mixture: PreparedCorpus, home: Path, tmp_path: Path) -> None:
    del mixture
    inspect(InspectConfig(data=MIXTURE, staff="short", corpora=str(home), count=36, to=str(tmp_path / "sheet.png")))
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_a_plan_takes_a_mixture_of_prepared_parts_and_leaves_nothing(home: Path) -> None:
    before = sorted(home.rglob("*"))
    words = [f"data={MIXTURE}", "model=tiny", f"paths.corpora={home}"]
    with planned_corpus(preparation(compose(words))) as planned:
        assert planned.whole is None
        assert planned.corpus.staves("train").staff_id(0).startswith("camera_primus/")
        PreparedCorpus.open(planned.corpus.path)
    shutil.rmtree(home / "cpms-short")
    with (
        pytest.raises(CorpusError, match=r"of data=.* cpms is not prepared in"),
        planned_corpus(preparation(compose(words))),
    ):
        pass
    assert [path for path in sorted(home.rglob("*")) if path not in before] == []


def test_a_part_of_another_size_is_another_corpus(home: Path) -> None:
    with pytest.raises(CorpusError, match="staff=full root="):
        prepare(replace(config(home), staff="full"), quiet=True)


def test_overwriting_a_mixture_takes_its_parts_from_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else older ones of this machine's, or such as are made anew, would be published in their place."""
    monkeypatch.setenv("OMR_SEARCH_CACHE", str(tmp_path / "cache"))
    brought: list[str] = []
    monkeypatch.setattr("datasets.prepare.bring", brought.append)
    config = PrepareConfig(data="log_run_3", corpora=f"file://{tmp_path}/corpora", overwrite=True)
    with pytest.raises(CorpusError, match="are not prepared"):
        prepare(config, quiet=True)
    assert brought == [part.address for part in config.parts]
