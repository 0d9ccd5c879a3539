import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from datasets.errors import StudyError
from results import provenance
from results.provenance import CODE_VARIABLE, UNVERSIONED, CodeVersion, code_version, code_words, collect, told_version
from results.study import find_study, read_study, write_study
from tests.studies import study_record


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    return tmp_path


def test_the_run_number_counts_commits(repository: Path) -> None:
    for message in ("one", "two"):
        git(repository, "commit", "--allow-empty", "-m", message)
    version = code_version(repository)
    assert (version.commit, version.run_number, version.dirty) == (git(repository, "rev-parse", "HEAD"), 2, False)


@pytest.mark.parametrize(("count", "words"), [(3, "3rd"), (12, "12th"), (75, "75th"), (101, "101st"), (111, "111th")])
def test_a_version_in_words_reads_like_no_run_of_the_log_and_older_words_are_taken_too(count: int, words: str) -> None:
    version = CodeVersion("6ef8ee3a" * 5, count, dirty=True)
    assert str(version) == f"commit 6ef8ee3a (the {words}), uncommitted changes"
    assert code_words(f"run {count}, commit 6ef8ee3a, uncommitted changes") == str(version)
    assert code_words(str(version)) == str(version)


@pytest.mark.parametrize("file", ["code.py", "new.py"])
def test_a_changed_or_new_file_is_dirty(repository: Path, file: str) -> None:
    git(repository, "commit", "-m", "one")
    (repository / file).write_text("x = 2\n")
    version = code_version(repository)
    assert version.dirty
    assert str(version).startswith(f"commit {version.commit[:8]} (the 1st), uncommitted")


def test_an_entry_in_the_log_makes_no_code_dirty(repository: Path) -> None:
    (repository / "LOG.md").write_text("# Training log\n")
    git(repository, "add", "LOG.md")
    git(repository, "commit", "-m", "one")
    (repository / "LOG.md").write_text("# Training log\n\nOne more.\n")
    assert not code_version(repository).dirty


def test_before_the_first_commit_is_unversioned(repository: Path) -> None:
    version = code_version(repository)
    assert (version.commit, version.run_number, version.dirty) == (UNVERSIONED, UNVERSIONED, False)


def test_the_digest_tells_two_uncommitted_states_apart_wherever_the_code_lies(tmp_path: Path) -> None:
    digests = []
    for place, text in (("here", "x = 1"), ("there", "x = 1"), ("here", "x = 2")):
        (tmp_path / place / "search" / "conf").mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "search" / "conf" / "one.yaml").write_text(text)
        digests.append(code_version(tmp_path / place).digest)
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_outside_git_is_unversioned(tmp_path: Path) -> None:
    assert code_version(tmp_path).run_number == UNVERSIONED
    assert "unversioned" in str(code_version(tmp_path))


def test_a_copy_installed_inside_another_repository_is_unversioned(repository: Path) -> None:
    git(repository, "commit", "-m", "one")
    installed = repository / "site-packages"
    installed.mkdir()
    (installed / "code.py").write_text("")
    assert code_version(installed).commit == UNVERSIONED


def test_without_git_and_without_a_driver(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.setenv("PATH", "")
    assert code_version(repository).commit == UNVERSIONED
    assert collect().hardware.gpus == ()


def test_it_names_machine_and_packages() -> None:
    made = collect()
    assert made.hardware.cpu
    assert made.hardware.cores >= 1
    assert made.hardware.memory_bytes > 2**20
    assert {"omr-search", "torch", "optuna"} <= set(made.packages)


def test_gpus_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'NVIDIA H200'\necho 'NVIDIA H200'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.collect().hardware.gpus == ("NVIDIA H200", "NVIDIA H200")


def test_a_study_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = dataclasses.replace(study_record(), provenance=collect())
    write_study(tmp_path / "demo", record)
    assert read_study(tmp_path / "demo") == record
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["study.json"]


def test_a_folder_without_a_study_says_so(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="is no study"):
        read_study(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"provenance": {}}'])
def test_a_damaged_study_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(StudyError, match=r"study\.json is damaged"):
        read_study(tmp_path)


def test_an_unknown_study_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="there are none yet"):
        find_study(tmp_path, "dropout")
    for name in ("dropout-1", "depth-1"):
        write_study(tmp_path / name, study_record(name))
    assert find_study(tmp_path, "depth-1") == tmp_path / "depth-1"
    with pytest.raises(StudyError, match=r"there are depth-1, dropout-1 \(did you mean dropout-1\?\)"):
        find_study(tmp_path, "dropoot-1")


def test_uncommitted_changes_are_told_and_new_modules_in_full(repository: Path) -> None:
    (repository / "LOG.md").write_text("# Training log\n")
    git(repository, "add", "LOG.md")
    git(repository, "commit", "-m", "one")
    (repository / "code.py").write_text("x = 2\n")
    (repository / "new.py").write_text("y = 3\n")
    (repository / "secret.txt").write_text("do not tell\n")
    (repository / "LOG.md").write_text("# Training log\n\nOne more.\n")
    text = provenance.uncommitted_changes(repository)
    assert "-x = 1\n+x = 2" in text
    assert "new file new.py\n+y = 3" in text
    assert "new file secret.txt" in text
    assert "do not tell" not in text
    assert "One more" not in text


def test_of_very_long_changes_is_told_how_much_is_missing(repository: Path) -> None:
    git(repository, "commit", "-m", "one")
    (repository / "new.py").write_text("y" * (provenance.MOST_CHANGES + 1000))
    text = provenance.uncommitted_changes(repository)
    assert len(text) < provenance.MOST_CHANGES + 100
    assert text.endswith(" characters more, which were not kept]\n")


def test_a_copy_without_git_is_told_its_version_and_believes_it_of_the_same_code_alone(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(repository, "commit", "-m", "one")
    (repository / "search").mkdir()
    (repository / "search" / "run.py").write_text("run = 1\n")
    version = code_version(repository)
    assert version.dirty
    copy = shutil.copytree(repository, tmp_path_factory.mktemp("job") / "copy", ignore=shutil.ignore_patterns(".git"))
    assert code_version(copy).commit == UNVERSIONED
    monkeypatch.setenv(CODE_VARIABLE, told_version(version))
    assert code_version(copy) == version
    (copy / "search" / "run.py").write_text("run = 2\n")
    assert code_version(copy).commit == UNVERSIONED
    assert code_version(copy).digest not in ("", version.digest)
    monkeypatch.setenv(CODE_VARIABLE, "{}")
    assert code_version(copy).commit == UNVERSIONED
