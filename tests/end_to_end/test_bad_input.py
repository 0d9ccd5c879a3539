"""Bad input on the real command lines: one clear message, status 2, no traceback, nothing half-written."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.commands import SMALL_MODEL, Done, run
from tests.end_to_end.conftest import Searched


def assert_refused(done: Done, *fragments: str) -> None:
    """One line that says what is wrong and what is allowed."""
    assert done.status == 2, done.out + done.err
    assert "Traceback" not in done.err
    assert done.err.count("error: ") == 1
    for fragment in fragments:
        assert fragment in done.err


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["space=nosuch"], ["unknown space 'nosuch'; choose", "dropout"]),
        (["space=dropout", "train.epocs=3"], ["train.epocs: no such field", "train.epochs"]),
        (["model.backbone.drop_rate=1.2"], ["`backbone.drop_rate` must be between 0 and 0.95, but got 1.2"]),
        (["train.epochs=many"], ["train.epochs", "'many'"]),
        (["data.name=nosuch"], ["unknown data 'nosuch'; choose camera_primus"]),
        (["study=a/b"], ["study=a/b"]),
        (["model.vocabulary=tiny"], ["vocabulary 'tiny'", "full, reduced"]),
    ],
)
def test_a_search_refuses_what_is_not_allowed(words: list[str], fragments: list[str], tmp_path: Path) -> None:
    paths = [f"paths.studies={tmp_path / 'studies'}", f"paths.corpora={tmp_path / 'corpora'}"]
    assert_refused(run("search.run", "model=tiny", *words, *paths), *fragments)
    assert not (tmp_path / "studies").exists()


def test_a_trial_that_no_machine_can_place_leaves_nothing(searched: Searched) -> None:
    words = ["model=tiny", "study=greedy", "trial.cpus=512", "cluster.dashboard=false", *searched.paths, *SMALL_MODEL]
    assert_refused(run("search.run", *words), "trial.cpus=512: there are")
    assert not (searched.studies / "greedy").exists()


def test_symbols_that_the_vocabulary_lacks_are_named_before_any_training(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.errors import VocabularyError
    from datasets.shards import Staves
    from search.compose import compose
    from search.study import run_study

    monkeypatch.setattr(Staves, "semantic", lambda self, index: "clef-G2 multirest-4711")  # noqa: ARG005
    config = compose(["model=tiny", "study=speechless", *searched.paths])
    with pytest.raises(VocabularyError, match="multirest-4711"):
        run_study(config, ["dropout"])
    assert not (searched.studies / "speechless").exists()


def test_apex_is_missed_before_anything_starts(searched: Searched) -> None:
    if importlib.util.find_spec("apex") is not None:
        pytest.skip("NVIDIA Apex is installed here")
    words = ["model=tiny", "study=fastest", "optimizer.fused=apex", *searched.paths, *SMALL_MODEL]
    assert_refused(
        run("search.run", *words), "optimizer.fused=apex: NVIDIA Apex is not installed", "optimizer.fused=torch"
    )
    assert not (searched.studies / "fastest").exists()


def test_a_missing_corpus_is_named(searched: Searched, tmp_path: Path) -> None:
    done = run("omr_model.evaluate", f"checkpoint={searched.folder / 'best'}", f"corpus={tmp_path / 'nowhere'}")
    assert_refused(done, "nowhere", "no prepared corpus here", "datasets.prepare")


def test_a_corrupt_shard_is_named(searched: Searched, tmp_path: Path) -> None:
    shutil.copytree(searched.corpora / "engraved-short", tmp_path / "engraved-short")
    shard = next((tmp_path / "engraved-short").glob("train-*.arrow"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    words = [f"paths.corpora={tmp_path}", f"paths.studies={tmp_path / 'studies'}", "data.limit=80"]
    assert_refused(run("search.run", "model=tiny", *words), shard.name)
    assert not (tmp_path / "studies").exists()


def test_an_unreadable_picture_is_named(searched: Searched, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    done = run("omr_model.predict", f"checkpoint={searched.folder / 'best'}", f"image={tmp_path / 'broken.png'}")
    assert_refused(done, "broken.png: not a readable picture")


def test_in_a_folder_the_readable_pictures_are_read_all_the_same(searched: Searched, tmp_path: Path) -> None:
    from datasets.images import encode_png
    from datasets.shards import PreparedCorpus

    staves = PreparedCorpus.open(searched.corpora / "engraved-short").staves("test")
    pictures = tmp_path / "my scans, 2024"
    pictures.mkdir()
    for index in range(2):
        (pictures / f"staff {index}.png").write_bytes(encode_png(staves.image(index)))
    (pictures / "staff 1.jpeg").write_bytes((pictures / "staff 1.png").read_bytes())
    (pictures / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    (pictures / "._staff 0.png").write_bytes(b"what macOS leaves")
    to = tmp_path / "read"
    done = run("omr_model.predict", f"checkpoint={searched.folder / 'best'}", f"image={pictures}", f"to={to}")
    assert done.status == 1
    assert "1 of 4 files" in done.err
    assert "torn.jpg: not a readable picture" in done.err
    names = [f"{name}.semantic" for name in ("staff 0.png", "staff 1.jpeg", "staff 1.png")]  # two are called alike
    assert sorted(path.name for path in to.iterdir()) == ["readings.parquet", *names]


@pytest.mark.parametrize(
    ("module", "words", "fragment"),
    [
        ("omr_model.predict", ["image=x.png"], "name both"),
        ("omr_model.predict", ["checkpoint=/nowhere", "image=/nowhere.png"], "/nowhere.png: no such file"),
        ("omr_model.train", ["preset=huge", "to=x"], "unknown preset 'huge'; choose auto, paper, grand, tiny"),
        ("omr_model.train", ["preset=tiny"], "name the folder for the checkpoint"),
        ("datasets.prepare", ["data=nosuch"], "unknown data 'nosuch'"),
        ("datasets.prepare", ["staff=huge"], "unknown staff 'huge'; choose auto, short, line, full, grand"),
        ("results.export", ["study=nosuch"], "study=nosuch: no such study"),
        ("results.gather", ["study=nosuch"], "study=nosuch: no such study"),
    ],
)
def test_the_other_tools_refuse_as_clearly(module: str, words: list[str], fragment: str, tmp_path: Path) -> None:
    assert_refused(run(module, *words, cwd=tmp_path), fragment)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_while_preparing_is_said_and_leaves_no_half_corpus(small_disk: Path) -> None:
    done = run("datasets.prepare", "data=engraved", "staff=short", "limit=60", f"corpora={small_disk}")
    assert_refused(done, "No space left on device")
    assert not (small_disk / "engraved-short").exists()
    assert list(small_disk.rglob("*.tmp")) == []
