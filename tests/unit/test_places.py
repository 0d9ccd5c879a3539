"""Where trials leave what they write until it is at the study's address: a folder on each node that is theirs alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pyarrow.fs as pafs
import pytest

from datasets.errors import StorageError
from datasets.storage import joined
from search.engine import places, stored_checkpoints
from search.engine.places import own_scratch, scratch_at
from search.engine.stored_checkpoints import checkpoints_at
from tests.studies import make_checkpoint


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of the third session of a study, which is not there yet."""
    monkeypatch.setattr(places.tempfile, "tempdir", str(tmp_path))
    return scratch_at("s3://bucket/studies/mine", 3)


def test_studies_of_one_name_and_sessions_do_not_share_it(scratch: Path, tmp_path: Path) -> None:
    others = [scratch_at("s3://bucket/studies/mine", 4), scratch_at("s3://other/studies/mine", 3)]
    assert len({scratch, *others}) == 3
    assert scratch.parent == others[0].parent != others[1].parent
    assert scratch.parent.parent == tmp_path


def test_nobody_else_reads_it_and_what_earlier_sessions_left_is_deleted(scratch: Path) -> None:
    own_scratch(scratch)
    assert scratch.parent.stat().st_mode & 0o777 == 0o700
    (scratch / "tmp1").mkdir()
    (scratch.parent / "2" / "tmp0").mkdir(parents=True)
    (scratch.parent / "2" / "tmp0" / "model.safetensors").touch()
    own_scratch(scratch)
    assert [path.name for path in scratch.parent.iterdir()] == ["3"]
    assert [path.name for path in scratch.iterdir()] == ["tmp1"], "another trial of this session writes there"


def test_a_folder_that_others_can_write_to_is_refused(scratch: Path) -> None:
    scratch.parent.mkdir()
    scratch.parent.chmod(0o777)
    with pytest.raises(StorageError, match=r"omr-search-.* is open to others; delete it, or name another TMPDIR"):
        own_scratch(scratch)
    assert not scratch.exists()


def test_somebody_elses_folder_is_refused(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch.parent.mkdir(mode=0o700)
    monkeypatch.setattr(places.os, "getuid", lambda: scratch.parent.stat().st_uid + 1)
    with pytest.raises(StorageError, match="is not ours"):
        own_scratch(scratch)


def test_a_link_to_elsewhere_is_refused(scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "elsewhere" / "precious").touch()
    scratch.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is not ours"):
        own_scratch(scratch)
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_after_an_exchange_the_copy_is_named_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune's own storage, which the population copies in, knows paths; a trial that goes back to one brings it."""
    study, trial = f"file://{tmp_path}/shared/mine", tmp_path / "shared" / "mine" / "tune" / "1" / "trial-0001"
    for name, epoch in (("checkpoint_of_trial_7_after_2", 2), ("checkpoint_000003", 3)):
        make_checkpoint(trial / name, epoch, 0.5)
    given = {"checkpoints": [str(trial / "checkpoint_of_trial_7_after_2")], "exchanged": "checkpoint_000002"}
    taken = joined(study, "tune", "1", "trial-0001", "checkpoint_of_trial_7_after_2")
    newest = joined(study, "tune", "1", "trial-0001", "checkpoint_000003")
    for latest, expected in ((None, [taken]), ("checkpoint_000003", [newest, taken])):
        path = latest and SimpleNamespace(path=str(trial / latest), filesystem=pafs.LocalFileSystem())
        monkeypatch.setattr(stored_checkpoints.tune, "get_checkpoint", lambda path=path: path)
        found = checkpoints_at(study, given, tmp_path / "scratch")
        assert list(found.addresses) == expected
        assert (found[-1] / "model.safetensors").exists(), "a damaged newest one leads back to it"
