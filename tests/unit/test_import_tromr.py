"""TrOMR's published weights become the same network in our model, with our numbers for symbols."""

from __future__ import annotations

import json
import random
import runpy
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from datasets.errors import CheckpointError, ConfigError
from datasets.vocabulary import vocabulary
from omr_model import import_tromr
from omr_model.checkpoint import describe, load_model
from omr_model.import_tromr import NEVER, PUBLISHED, ImportJob, converted, import_weights, read_tokenizers, read_weights
from tests.published import Weights, encode, published, score

WORDS = vocabulary("full")
UNKNOWN = {"gracenote-quarter", "rest-half_fermata", "tie"}  # to this pretended publication
FOREIGN = ["+", "timeSignature-80/4"]  # to us


def their_tokens() -> dict[str, list[str]]:
    """Our vocabulary as they write it, in another order, without some tokens and with some of their own."""
    rhythms = [token for token in WORDS.rhythm[3:] if token not in UNKNOWN] + FOREIGN
    random.Random(0).shuffle(rhythms)
    spelt = [token.replace("double_whole", "breve").replace("quadruple_whole", "long") for token in rhythms]
    return {
        "rhythm": ["[PAD]", "[BOS]", "[EOS]", *spelt],
        "pitch": ["nonote", *(f"note-{token}" for token in reversed(WORDS.pitch[1:]))],
        "lift": list(WORDS.lift),
    }


TOKENS = their_tokens()
SIZES = {branch: len(tokens) for branch, tokens in TOKENS.items()}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return published(SIZES)


@pytest.fixture(scope="module")
def workspace(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the published repository."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "checkpoints").mkdir()
    torch.save(weights, folder / "checkpoints" / "img2score_epoch47.pth")
    write_tokenizers(folder / "tokenizers")
    return folder


def write_tokenizers(folder: Path) -> None:
    folder.mkdir()
    for branch, tokens in TOKENS.items():
        numbers = {token: number for number, token in enumerate(tokens)}
        (folder / f"tokenizer_{branch}.json").write_text(json.dumps({"model": {"type": "WordLevel", "vocab": numbers}}))


@pytest.fixture(scope="module")
def imported(workspace: Path) -> Path:
    """By the command, as a person would."""
    target = workspace / "imported"
    file = workspace / "checkpoints" / "img2score_epoch47.pth"
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(StringIO()) as printed:
        patched.setattr(sys, "argv", ["import_tromr", str(file), f"to={target}"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(import_tromr.__file__), run_name="__main__")
    assert ended.value.code == 0
    said = printed.getvalue()
    assert "mapped 260 of 261 tensors" in said
    assert "left out: decoder.note_mask (says which rhythms are notes" in said
    assert f"rhythm: {len(FOREIGN)} of their tokens dropped, {len(UNKNOWN)} of ours unknown to them" in said
    assert all(token in said for token in (*FOREIGN, *UNKNOWN))
    assert "pitch: 0 of their tokens dropped, 0 of ours" in said
    return target


def test_the_imported_model_scores_as_the_published_network(imported: Path, weights: Weights) -> None:
    model = load_model(imported, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (1, 1, 128, 1280), generator=generator).float()
    ours = {
        "rhythm": torch.tensor([[1, *(WORDS.rhythm.index(token) for token in ("clef-G2", "note-double_whole", "|"))]]),
        "pitch": torch.tensor([[0, 0, 30, 0]]),
        "lift": torch.tensor([[0, 0, 3, 0]]),
    }
    theirs = {
        "rhythm": torch.tensor([[1, *(TOKENS["rhythm"].index(token) for token in ("clef-G2", "note-breve", "|"))]]),
        "pitch": torch.tensor([[0, 0, TOKENS["pitch"].index(f"note-{WORDS.pitch[30]}"), 0]]),
        "lift": torch.tensor([[0, 0, 3, 0]]),
    }
    with torch.no_grad():
        picture = model.encoder(image)
        expected = encode(weights, image)
        torch.testing.assert_close(picture, expected, atol=1e-4, rtol=1e-4)
        scores, _ = model.decoder(ours["rhythm"], ours["pitch"], ours["lift"], picture)
        reference = score(weights, theirs, expected)
    assert_same_scores("rhythm", scores.rhythm, reference["rhythm"])
    assert_same_scores("pitch", scores.pitch, reference["pitch"])
    torch.testing.assert_close(scores.lift, reference["lift"], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(scores.note, reference["note"], atol=1e-3, rtol=1e-3)


def assert_same_scores(branch: str, ours: Tensor, theirs: Tensor) -> None:
    """A token has the score that they give to it; one that they lack has the lowest."""
    spelt = {"double_whole": "breve", "quadruple_whole": "long"}
    for place, token in enumerate(getattr(WORDS, branch)):
        written = f"note-{token}" if branch == "pitch" and place else token
        for one, other in spelt.items():
            written = written.replace(one, other)
        if token in UNKNOWN:
            assert (ours[..., place] == NEVER).all()
        else:
            theirs_here = theirs[..., TOKENS[branch].index(written)]
            torch.testing.assert_close(ours[..., place], theirs_here, atol=1e-3, rtol=1e-3)


def test_the_checkpoint_says_where_it_comes_from(imported: Path) -> None:
    description = describe(imported)
    assert (description.epoch, description.ser, description.vocabulary) == (0, None, "full-1")
    assert description.config.model == PUBLISHED
    assert description.imported.startswith("github.com/NetEase/Polyphonic-TrOMR, img2score_epoch47.pth, SHA-256 ")
    assert "NaN" not in (imported / "checkpoint.json").read_text()


def test_safetensors_are_read_too(weights: Weights, tmp_path: Path) -> None:
    save_file(weights, tmp_path / "weights.safetensors")
    read = read_weights(tmp_path / "weights.safetensors")
    assert read.keys() == weights.keys()
    assert torch.equal(read["encoder.pos_embed"], weights["encoder.pos_embed"])


def test_all_that_does_not_fit_is_counted_and_named(weights: Weights) -> None:
    narrow = weights | {"encoder.norm.weight": torch.ones(64)}
    del narrow["decoder.net.to_logits_note.bias"]
    with pytest.raises(CheckpointError, match="2 tensors do not fit") as raised:
        converted(narrow, TOKENS)
    assert "encoder.norm.weight is [64] and should be [256]" in str(raised.value)
    assert "nothing is there for decoder.heads.note.bias of our model" in str(raised.value)


def test_tokenizers_of_another_model_are_told(weights: Weights) -> None:
    with pytest.raises(CheckpointError, match=r"rhythm_emb.emb.weight is \[259, 256\] and should be \[258, 256\]"):
        converted(weights, TOKENS | {"rhythm": TOKENS["rhythm"][:-1]})


def test_what_the_published_model_does_not_have_is_left_out(weights: Weights) -> None:
    more = converted(weights | {"decoder.net.extra": torch.ones(3)}, TOKENS)
    assert more.left_out["decoder.net.extra"] == "the published model has no such tensor"
    assert more.given == 262


def test_without_tokenizers_it_says_what_is_needed(workspace: Path, tmp_path: Path) -> None:
    job = ImportJob(
        file=str(workspace / "checkpoints" / "img2score_epoch47.pth"), tokenizers=str(tmp_path), to=str(tmp_path / "to")
    )
    with pytest.raises(CheckpointError, match=r"tokenizer_rhythm\.json: No such file .* tokenizers=FOLDER"):
        import_weights(job)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"model": {"vocab": ["a"]}}', '{"model": {"vocab": {"a": 1}}}'])
def test_files_that_are_no_tokenizers_are_refused(text: str, tmp_path: Path) -> None:
    write_tokenizers(tmp_path / "tokenizers")
    (tmp_path / "tokenizers" / "tokenizer_pitch.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"tokenizer_pitch\.json"):
        read_tokenizers(tmp_path / "tokenizers")


@pytest.mark.parametrize("kind", ["text", "pickled code", "list", "missing"])
def test_files_that_hold_no_weights_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if kind == "text":
        path.write_text("<html>")
    elif kind == "pickled code":
        torch.save({"encoder.norm.weight": np.random.default_rng}, path)
    elif kind == "list":
        torch.save([torch.ones(1)], path)
    with pytest.raises(CheckpointError, match=r"weights\.pth") as refused:
        read_weights(path)
    assert "weights_only" not in str(refused.value)  # torch's own advice, which would run code in the file


def test_both_are_asked_for_and_nothing_is_replaced(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name both: FILE to=FOLDER"):
        import_weights(ImportJob(file="weights.pth"))
    with pytest.raises(ConfigError, match="there already"):
        import_weights(ImportJob(file="weights.pth", to=str(tmp_path)))
