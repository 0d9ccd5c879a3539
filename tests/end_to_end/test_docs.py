"""The documentation: it builds without a network, its links work, and its snippets do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from datasets.images import decode_png, encode_png
from datasets.sources import Request
from datasets.staff import STAFF_SIZES
from omr_model.backbones import BUILDERS
from omr_model.config import FAMILIES, BackboneConfig, TrainingConfig
from search.config import SpaceConfig
from search.space import SearchSpace
from tests.end_to_end.commands import ROOT
from tests.end_to_end.documented import OTHERS, PAGES, Snippet, snippets

OUTSIDE = re.compile(r"""<(?:script|link|img|iframe|source)[^>]+(?:src|href)=["'](?:https?:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; `strict` makes a broken link or reference an error."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "-f", str(ROOT / ".mkdocs.yml"), "-d", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=quiet, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built_and_asks_nothing_of_the_network(site: Path) -> None:
    for page in PAGES:
        built = site / page.relative_to(ROOT / "docs").with_suffix(".html")
        assert OUTSIDE.findall(built.read_text(encoding="utf-8")) == [], page


def test_the_reference_holds_what_users_call(site: Path) -> None:
    text = (site / "reference" / "results.html").read_text(encoding="utf-8")
    assert 'id="results.evidence.decide"' in text
    assert "Raises" in text


def test_every_picture_says_what_it_shows() -> None:
    for page in PAGES:
        for words, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert words, f"{page}: {target}"
            assert (page.parent / target).is_file(), f"{page}: {target}"


def test_other_programs_are_the_installed_ones() -> None:
    """Their commands are run by the tests of the trackers."""
    assert {words[0] for words in OTHERS} == {"make", "optuna-dashboard", "tensorboard"}
    for program in ("optuna-dashboard", "tensorboard"):
        assert (Path(sys.executable).parent / program).exists()


@pytest.mark.parametrize("snippet", snippets("yaml"), ids=str)
def test_spaces_are_spaces(snippet: Snippet) -> None:
    told = OmegaConf.merge(OmegaConf.structured(SpaceConfig), OmegaConf.create(snippet.text))
    space = SearchSpace(OmegaConf.to_object(told), TrainingConfig())
    assert [origin for _, origin in space.points] == ["TrOMR, section 4"]


def run_snippet(page: str) -> dict[str, Any]:
    [snippet] = [snippet for snippet in snippets("python") if snippet.page.name == page]
    names: dict[str, Any] = {}
    exec(compile(snippet.text, page, "exec"), names)
    return names


def test_the_backbone_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILDERS, "repvgg", run_snippet("backbone.md")["repvgg"])
    monkeypatch.setitem(FAMILIES, "repvgg", 1)
    config = BackboneConfig(family="repvgg", layers=(1, 1), channels=(16, 32), stem_channels=16)
    cells = BUILDERS["repvgg"](config)(torch.zeros(2, 1, 64, 256))
    assert cells.shape == (2, 32, 64 // config.stride, 256 // config.stride)


def test_the_tutorial_has_pictures_to_read(corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "corpora").symlink_to(corpora)
    monkeypatch.chdir(tmp_path)
    run_snippet("tutorial.md")
    pictures = [Path("staff.png"), *Path("scans").iterdir()]
    assert {decode_png(picture.read_bytes()).shape for picture in pictures} == {(64, 256)}
    assert len(pictures) == 6


def test_the_corpus_is_one(tmp_path: Path) -> None:
    source = run_snippet("corpus.md")["NamedSource"]()
    label = "clef-G2+keySignature-CM+note-C4_quarter+barline"
    (tmp_path / f"{label}.png").write_bytes(encode_png(np.full((64, 256), 200, np.uint8)))
    request = Request(size=STAFF_SIZES["short"], root=tmp_path, seed=0)
    [piece] = source.pieces(request)
    [staff] = source.staves(piece, request).staves
    assert staff.semantic == label.replace("+", " ")
    assert staff.image.shape == (64, 256)
