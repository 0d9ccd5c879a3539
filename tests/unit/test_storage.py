"""Addresses, and files at them."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from datasets import storage
from datasets.addresses import cache_folder, is_address, joined, resolved, split
from datasets.addresses import working_folder as work
from datasets.errors import ConfigError, StorageError
from datasets.storage import Remote, fetched, remote_of, retried


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMR_SEARCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote.of(f"file://{tmp_path}/shared")


def test_an_address_is_no_path() -> None:
    assert is_address("s3://bucket/studies")
    assert not is_address("results/studies")
    assert not is_address(Path("s3://bucket"))


@pytest.mark.parametrize(
    ("address", "names", "below"),
    [
        ("s3://b/studies", ("one", "tune"), "s3://b/studies/one/tune"),
        ("s3://b/studies/", ("one",), "s3://b/studies/one"),
        ("s3://b?endpoint_override=h:1&scheme=http", ("one",), "s3://b/one?endpoint_override=h:1&scheme=http"),
        ("file:///mnt/x", ("y",), "file:///mnt/x/y"),
    ],
)
def test_what_follows_a_question_mark_stays_at_the_end(address: str, names: tuple[str, ...], below: str) -> None:
    assert joined(address, *names) == below


@pytest.mark.parametrize("address", ["s3://b/studies/one", "s3://b/one?endpoint_override=h:1", "file:///mnt/x/y"])
def test_to_split_is_the_inverse_of_to_join(address: str) -> None:
    above, name = split(address)
    assert joined(above, name) == address


def test_the_parts_of_a_mixture_lie_beside_it() -> None:
    assert resolved("s3://b/corpora/mix-full/../cpms-full?x=1") == "s3://b/corpora/cpms-full?x=1"
    assert resolved("file:///mnt/corpora/mix/../cpms") == "file:///mnt/corpora/cpms"


def test_a_path_is_worked_on_in_its_place(tmp_path: Path) -> None:
    assert work(str(tmp_path)) == tmp_path
    assert remote_of(tmp_path / "study") is None


def test_an_address_has_a_folder_that_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # else it is asked where the bucket is
    one, again, other = work("s3://b/studies"), work("s3://b/studies/"), work("s3://b/corpora")
    assert one == again != other
    assert one.parent == tmp_path / "cache"
    found = remote_of(one / "dropout-1")
    assert found is not None
    assert (found.address, found.root) == ("s3://b/studies/dropout-1", "b/studies/dropout-1")


def test_the_cache_is_where_the_user_has_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMR_SEARCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "omr-search"


@pytest.mark.parametrize("address", ["nonsense://x", "s3://", "s3://b?what=is_this"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(ConfigError, match=r"no address that can be read.*s3://bucket/studies"):
        Remote.of(address)


def test_files_come_and_go(remote: Remote, tmp_path: Path) -> None:
    assert remote.files() == {}
    assert remote.read("a/b.txt") is None
    remote.write("a/b.txt", b"one")
    remote.write("c.txt", b"")
    assert {name: entry.size for name, entry in remote.files().items()} == {"a/b.txt": 3, "c.txt": 0}
    assert remote.folders() == ["a"]
    assert remote.at("a").read("b.txt") == b"one"
    assert remote.download("a/b.txt", tmp_path / "here" / "b.txt")
    assert (tmp_path / "here" / "b.txt").read_bytes() == b"one"
    assert not remote.download("nothing", tmp_path / "here" / "nothing")
    fetched(remote, ["a/b.txt", "nothing"], tmp_path / "more")
    assert [path.name for path in (tmp_path / "more").rglob("*") if path.is_file()] == ["b.txt"]
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"b.txt"}
    for _ in range(2):  # to delete twice is to delete once
        remote.delete("c.txt")
        remote.delete_folder("a")
    assert remote.files() == {}


def test_a_large_file_is_streamed(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "IN_ONE_WRITE", 4)
    (tmp_path / "large").write_bytes(b"12345")
    remote.upload(tmp_path / "large", "large")
    assert remote.read("large") == b"12345"
    assert list(remote.files()) == ["large"]


def test_a_time_is_kept(remote: Remote, tmp_path: Path) -> None:
    remote.write("file", b"x")
    os.utime(remote.path("file"), ns=(5, 1_700_000_000_000_000_000))
    assert remote.download("file", tmp_path / "file")
    assert (tmp_path / "file").stat().st_mtime_ns == 1_700_000_000_000_000_000


def test_a_time_of_the_last_moment_is_not_kept(remote: Remote, tmp_path: Path) -> None:
    remote.write("file", b"x")
    moment = time.time_ns() + 60_000_000_000  # another version may come within this very tick of the store's clock
    os.utime(remote.path("file"), ns=(moment, moment))
    assert remote.download("file", tmp_path / "file")
    assert (tmp_path / "file").stat().st_mtime_ns != moment


def test_a_full_disk_is_not_the_store_s_fault(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote.write("file", b"x")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pyarrow.fs.copy_files", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        remote.download("file", tmp_path / "file")
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "file").exists()


def test_what_fails_for_a_moment_is_tried_again() -> None:
    pauses: list[float] = []
    answers = iter([StorageError("timeout"), StorageError("timeout"), None])

    def action() -> str:
        if (answer := next(answers)) is not None:
            raise answer
        return "done"

    assert retried(action, sleep=pauses.append) == "done"
    assert len(pauses) == 2
    assert 0.25 <= pauses[0] <= 0.5 <= pauses[1] <= 1.0


@pytest.mark.parametrize(("hopeless", "tries"), [(False, 3), (True, 1)])
def test_what_no_repetition_mends_is_told_at_once(hopeless: bool, tries: int) -> None:
    made: list[int] = []

    def action() -> None:
        made.append(1)
        raise StorageError("no", hopeless)

    with pytest.raises(StorageError, match="no"):
        retried(action, tries=3, sleep=lambda _: None)
    assert len(made) == tries


@pytest.mark.parametrize(
    ("said", "hopeless"),
    [
        ("When getting information: AWS Error ACCESS_DENIED during HeadObject operation", True),
        ("When reading information: AWS Error NETWORK_CONNECTION during HeadObject operation", False),
        ("AWS Error SLOW_DOWN during PutObject operation", False),
        ("Bucket 'omr' not found", True),
        ("google::cloud::Status(PERMISSION_DENIED: no right)", True),
        ("When reading 'Permission-NO_SUCH_BUCKET/SIGNATURE': AWS Error NETWORK_CONNECTION during GetObject", False),
        ("When reading 'ACCESS_DENIED/Bucket 'x' not found': AWS Error SLOW_DOWN during GetObject", False),
    ],
)
def test_a_right_that_is_missing_is_hopeless(remote: Remote, said: str, hopeless: bool) -> None:
    def fail(_: str) -> None:
        raise OSError(said)

    without = replace(remote, filesystem=SimpleNamespace(get_file_info=fail))
    with pytest.raises(StorageError, match="file://") as caught:
        without.entry("file")
    assert caught.value.hopeless == hopeless


def test_a_right_that_the_system_denies_is_hopeless(remote: Remote) -> None:
    def fail(_: str) -> None:
        raise PermissionError(errno.EACCES, "no")

    without = replace(remote, filesystem=SimpleNamespace(get_file_info=fail))
    with pytest.raises(StorageError, match="no") as caught:
        without.entry("file")
    assert caught.value.hopeless


def test_where_a_bucket_is_may_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_PAUSE", 0.0)
    failures: list[OSError | None] = [OSError("AWS Error NETWORK_CONNECTION during HeadBucket operation"), None]

    def from_uri(_: str) -> tuple[object, str]:
        if (failure := failures.pop(0)) is not None:
            raise failure
        return object(), "a-bucket-of-its-own"

    monkeypatch.setattr(storage.pafs, "FileSystem", SimpleNamespace(from_uri=from_uri))
    assert Remote.of("s3://a-bucket-of-its-own/studies").root == "a-bucket-of-its-own/studies"
    assert failures == []


def test_a_bucket_that_nobody_has_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def from_uri(bucket: str) -> None:
        asked.append(bucket)
        raise OSError("Bucket 'nobody-has-it' not found")

    monkeypatch.setattr(storage.pafs, "FileSystem", SimpleNamespace(from_uri=from_uri))
    with pytest.raises(StorageError, match="s3://nobody-has-it: Bucket"):
        Remote.of("s3://nobody-has-it/studies")
    assert len(asked) == 1


def test_a_file_in_the_way_of_a_folder_may_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file://") as caught:
        Remote.of(f"file://{tmp_path}/file").write("below", b"")
    assert not caught.value.hopeless  # a folder in the way: a mount may come back
