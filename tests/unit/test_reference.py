"""The page on every field of a search: it is the code's, and leaves none out."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.command_line import flat_fields, main
from datasets.field_help import field_helps
from search.compose import compose
from search.config import SearchConfig
from search.reference import ReferenceConfig, as_markdown, write
from search.space import SearchSpace

DOCS = Path(__file__).parents[2] / "docs"
LINES = as_markdown().splitlines()


def test_the_documentation_has_the_fields_as_they_are(tmp_path: Path) -> None:
    written = tmp_path / "new" / "configuration.md"
    with pytest.raises(SystemExit) as caught:
        main(write, ReferenceConfig(), [f"to={written}"])
    assert not caught.value.code
    told = "it is out of date: python -m search.reference to=docs/reference/configuration.md"
    assert (DOCS / "reference" / "configuration.md").read_bytes() == written.read_bytes(), told


def test_every_field_is_there_once_and_described() -> None:
    rows = {line.split("`")[1]: line for line in LINES if line.startswith("| `")}
    names = {name for name in flat_fields(SearchConfig()) if not name.startswith("space.")}
    assert names <= rows.keys()
    assert sum(line.startswith("| `model.decoder.dropout`") for line in LINES) == 1
    assert [name for name, row in rows.items() if row.endswith("|  |")] == []
    assert [
        field.name for field in field_helps(SearchConfig()) if not field.text.strip() and "space." not in field.name
    ] == []


def test_both_machines_defaults_are_there_and_no_folder_of_this_one() -> None:
    [trials] = [line for line in LINES if line.startswith("| `budget.trials`")]
    assert trials.startswith("| `budget.trials` | `50` | `8` |")
    [corpora] = [line for line in LINES if line.startswith("| `paths.corpora`")]
    assert corpora.startswith("| `paths.corpora` | `datasets/corpora` |  |")


def test_a_page_is_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(write, ReferenceConfig(), ["to=configuration.html"])
    assert caught.value.code == 2
    assert "must end in .md" in capsys.readouterr().err


def test_the_page_on_the_base_counts_what_comes_first() -> None:
    config = compose(["space=all", "model=tiny"])
    queued = SearchSpace(config.space, config.training()).queued
    assert f"{queued} trials before the sampler has its first" in (DOCS / "how-to" / "base.md").read_text(
        encoding="utf-8"
    )
