"""Corpora and studies at an address of an object store that speaks S3."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets import corpus_storage
from datasets.addresses import working_folder
from datasets.corpus_storage import bring, corpus_folder, publish
from datasets.errors import ConfigError, CorpusError, StorageError
from datasets.mixture import mix
from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus
from datasets.storage import Remote
from results.study import find_study
from results.working_copy import opened_study
from search.engine.corpus_cache import kept_corpus
from search.lock import driving
from tests.stores import Store, object_store
from tests.studies import FakeTrial, make_study


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with object_store() as store:
        yield store


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path, monkeypatch, "first")


def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Be another machine: one with another cache."""
    monkeypatch.setenv("OMR_SEARCH_CACHE", str(tmp_path / name))


@pytest.fixture
def corpora_at(store: Store, request: pytest.FixtureRequest) -> str:
    return f"{store.address}/{request.node.name}/corpora"


def config(corpora: str, **fields: object) -> PrepareConfig:
    return PrepareConfig(**{"staff": "short", "limit": 20, "corpora": corpora, **fields})  # type: ignore[arg-type]


def test_a_corpus_is_prepared_once_for_all_machines(
    corpora_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepare(config(corpora_at), quiet=True)
    assert made.path.is_relative_to(tmp_path / "first")
    machine(tmp_path, monkeypatch, "second")
    monkeypatch.setattr("datasets.prepare._build", None)  # nothing is prepared again
    again = prepare(config(corpora_at), quiet=True)
    assert again.path.is_relative_to(tmp_path / "second")
    assert again.manifest == made.manifest
    opened = PreparedCorpus.open(f"{corpora_at}/engraved-short")
    assert [staff.semantic for staff in opened.staves("train")] == [staff.semantic for staff in made.staves("train")]
    assert {path.name for path in opened.path.iterdir()} == {path.name for path in made.path.iterdir()}
    with pytest.raises(CorpusError, match=r"limit=20 there, limit=10 asked for"):
        prepare(config(corpora_at, limit=10), quiet=True)


def test_overwriting_replaces_it_everywhere(corpora_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(config(corpora_at, limit=6), quiet=True)
    machine(tmp_path, monkeypatch, "second")
    assert PreparedCorpus.open(f"{corpora_at}/engraved-short").manifest.staves == 6
    machine(tmp_path, monkeypatch, "first")
    there = Remote.of(f"{corpora_at}/engraved-short")
    there.write("train-0099.arrow", b"of a corpus with more shards")
    there.write("notes.txt", b"somebody's own")
    made = prepare(config(corpora_at, limit=8, overwrite=True), quiet=True)
    machine(tmp_path, monkeypatch, "second")
    assert PreparedCorpus.open(f"{corpora_at}/engraved-short").manifest.staves == 8
    assert there.files().keys() == {"notes.txt", *(path.name for path in made.path.iterdir())}


def test_trials_that_begin_at_once_wait_for_one_download(
    corpora_at: str, corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{corpora_at}/engraved-short"
    publish(corpus.path, address)
    downloaded: list[str] = []
    download = Remote.download

    def counted(self: Remote, name: str, path: Path) -> bool:
        downloaded.append(name)
        return download(self, name, path)

    monkeypatch.setattr(Remote, "download", counted)
    threads = [threading.Thread(target=bring, args=(address,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(downloaded) == sorted(["rejects.jsonl", *(shard.file for shard in corpus.manifest.shards)])
    assert kept_corpus(address).manifest == corpus.manifest
    assert len(downloaded) == len(set(downloaded))


def test_a_download_that_broke_off_goes_on(
    corpora_at: str, corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{corpora_at}/engraved-short"
    publish(corpus.path, address)
    whole = corpus_storage._download_shard

    def breaks(remote: Remote, shard: corpus_storage.ShardRecord, folder: Path) -> None:
        if shard.split == "validation":
            raise StorageError("connection reset")
        whole(remote, shard, folder)

    with monkeypatch.context() as patched:
        patched.setattr(corpus_storage, "_download_shard", breaks)
        with pytest.raises(StorageError, match="connection reset"):
            bring(address)
    assert not corpus_folder(address).exists()
    had = {path.name for path in corpus_folder(address).with_name(".engraved-short.brought").glob("*.arrow")}
    downloaded, download = set(), Remote.download
    monkeypatch.setattr(Remote, "download", lambda self, name, path: downloaded.add(name) or download(self, name, path))
    assert PreparedCorpus.open(address).manifest == corpus.manifest
    assert had
    assert not had & downloaded


def test_a_damaged_object_is_never_taken_for_a_corpus(corpora_at: str, corpus: PreparedCorpus) -> None:
    address = f"{corpora_at}/engraved-short"
    publish(corpus.path, address)
    shard = corpus.manifest.shards[0]
    Remote.of(address).write(shard.file, b"x" * shard.bytes)
    with pytest.raises(CorpusError, match=rf"{shard.file} is missing or not what manifest.json says"):
        bring(address)
    assert not corpus_folder(address).exists()
    with pytest.raises(CorpusError, match=r"no prepared corpus here.*corpora=s3://"):
        PreparedCorpus.open(f"{corpora_at}/cpms-full")


def test_a_mixture_comes_with_its_parts(
    corpora_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: PreparedCorpus
) -> None:
    publish(corpus.path, f"{corpora_at}/engraved-short")
    part = PreparedCorpus.open(f"{corpora_at}/engraved-short")
    mixture = mix(part.path.with_name("mixed-short"), "mixed", [part], {"engraved": 1.0})
    publish(mixture.path, f"{corpora_at}/mixed-short")
    machine(tmp_path, monkeypatch, "second")
    there = PreparedCorpus.open(f"{corpora_at}/mixed-short")
    assert there.manifest == mixture.manifest
    assert len(there.staves("train")) == len(corpus.staves("train"))


def test_a_study_is_driven_here_and_read_there(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies = f"{store.address}/some/studies"
    folder = working_folder(studies) / "demo"
    folder.mkdir()
    with driving(folder) as mirror:
        assert mirror is not None
        made = make_study(tmp_path / "made", [FakeTrial(0, (0.5,), origin="base")], checkpoints=False)
        for path in made.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    machine(tmp_path, monkeypatch, "second")
    with opened_study(studies, "demo") as found:
        assert found.is_relative_to(tmp_path / "second")
        assert (found / "events.jsonl").read_bytes() == (folder / "events.jsonl").read_bytes()
        (found / "report.html").write_text("a page")
    machine(tmp_path, monkeypatch, "third")
    assert (find_study(studies, "demo") / "report.html").read_text() == "a page"


def test_what_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.storage.TRIES", 1)
    monkeypatch.setattr("datasets.storage.retried.__defaults__", (1, lambda _: None))
    with pytest.raises(StorageError, match=r"s3://omr/studies.*NETWORK_CONNECTION"):
        find_study("s3://omr/studies", "demo")


def test_a_bucket_that_is_not_there_is_told_at_once(store: Store) -> None:
    with pytest.raises(StorageError, match="NO_SUCH_BUCKET") as caught:
        Remote.of(f"{store.address}-not/there").write("file", b"x")
    assert caught.value.hopeless
    with pytest.raises(ConfigError, match="names no bucket"):
        Remote.of("s3://")
