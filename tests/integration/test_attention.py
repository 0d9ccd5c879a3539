"""Where the model looked: the weights are those that it read with, and they are drawn."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datasets.errors import ConfigError
from datasets.images import encode_png
from datasets.notation import parse
from omr_model.attention import (
    Attention,
    AttentionJob,
    attend,
    attentive_pass,
    draw,
    draw_strip,
    draw_symbol,
    file_name,
)
from omr_model.config import BackboneConfig, DecoderConfig
from omr_model.decoding import greedy, write
from omr_model.model import TrOMR
from omr_model.reading import Reading
from tests.contracts.model import restless
from tests.models import SMALL, random_batch, save_model

CONFIG = dataclasses.replace(SMALL, decoder=DecoderConfig(depth=2, heads=2), max_length=12)  # attention on attention
CONVNEXT = BackboneConfig(family="convnext", layers=(1, 1, 1), channels=(8, 8, 16))
INCEPTION = BackboneConfig(family="inception_resnet_v2", layers=(1, 1), channels=())


@pytest.fixture(scope="module")
def model() -> TrOMR:
    torch.manual_seed(0)
    model = TrOMR(CONFIG)
    restless(model, CONFIG)
    return model


@pytest.fixture(scope="module")
def attention(model: TrOMR) -> Attention:
    return attend(model, random_batch(CONFIG).image[0, 0].numpy())


def written(model: TrOMR) -> tuple[Tensor, Tensor]:
    """What the model writes of three pictures, and their features."""
    image = random_batch(CONFIG).image
    with torch.inference_mode():
        return write(model, image)[0], model.encoder(image)


def test_weights_are_shares_of_what_greedy_decoding_reads(model: TrOMR, attention: Attention) -> None:
    [reading] = greedy(model, random_batch(CONFIG).image[:1])
    assert attention.reading.symbols == reading.symbols
    assert attention.reading.confidences == pytest.approx(reading.confidences, abs=1e-5)
    assert attention.weights.shape == (len(reading.symbols), *model.encoder.grid)
    np.testing.assert_allclose(attention.weights.sum(axis=(1, 2)), 1, atol=1e-5)
    assert attention.weights.min() >= 0


def test_scores_are_those_of_the_ordinary_pass_and_its_kernels_are_put_back(model: TrOMR) -> None:
    ids_BTS, picture_BPD = written(model)
    flash = [module.flash for module in model.modules() if hasattr(module, "flash")]
    with torch.inference_mode():
        logits, _ = attentive_pass(model, ids_BTS, picture_BPD)
        begin_B1S = torch.tensor([[[1, 0, 0]]]).expand(3, 1, 3)
        usual, _ = model.decoder(*torch.cat((begin_B1S, ids_BTS[:, :-1]), dim=1).unbind(dim=2), picture_BPD)
    for (branch, scores), (_, others) in zip(logits.items(), usual.items(), strict=True):
        torch.testing.assert_close(scores, others, atol=1e-4, rtol=1e-4, msg=branch)
    assert [module.flash for module in model.modules() if hasattr(module, "flash")] == flash == [True] * 4


def test_kernels_are_put_back_after_an_error(model: TrOMR) -> None:
    ids_BTS, picture_BPD = written(model)
    with pytest.raises(IndexError):
        attentive_pass(model, ids_BTS.clone().fill_(10**6), picture_BPD)
    assert all(module.flash for module in model.modules() if hasattr(module, "flash"))


def test_weights_are_the_softmax_of_queries_and_keys(model: TrOMR) -> None:
    """Worked out from what the projections of each cross-attention gave."""
    blocks = model.decoder.attention
    cross = [layer[1] for kind, layer in zip(blocks.layer_types, blocks.layers, strict=True) if kind == "c"]
    given, seen = written(model), list[Tensor]()
    projections = [part for each in cross for part in (each.to_q, each.to_k)]
    hooks = [part.register_forward_hook(lambda _module, _input, result: seen.append(result)) for part in projections]
    with torch.inference_mode():
        _, weights = attentive_pass(model, *given)
    for hook in hooks:
        hook.remove()
    heads = CONFIG.decoder.heads
    for layer in range(CONFIG.decoder.depth):
        q, k = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in seen[2 * layer : 2 * layer + 2])
        expected = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
        torch.testing.assert_close(weights[:, layer], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backbone", [SMALL.backbone, CONVNEXT, INCEPTION], ids=lambda one: one.family)
def test_cells_lie_where_they_are_in_the_picture(backbone: BackboneConfig) -> None:
    """What changes at the upper right changes the features of the cell there most."""
    torch.manual_seed(0)
    encoder = TrOMR(dataclasses.replace(SMALL, backbone=backbone)).eval().encoder
    rows, columns = encoder.grid
    pictures = torch.rand(1, 1, SMALL.height, SMALL.width).repeat(2, 1, 1, 1)
    pictures[1, :, : SMALL.height // rows, -SMALL.width // columns :] += 5
    with torch.inference_mode():
        one, other = encoder.transformer.patch_embed(pictures)
    changed = (one - other).norm(dim=-1).reshape(rows, columns)
    assert divmod(int(changed.argmax()), columns) == (0, columns - 1)


def test_the_mode_is_put_back(model: TrOMR) -> None:
    model.train()
    try:
        attend(model, np.full((20, 300), 255, dtype=np.uint8))
        assert model.training
    finally:
        model.eval()


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_symbol_glows_where_the_model_looked() -> None:
    weights = np.full((1, 2, 4), 0.01, dtype=np.float32)
    weights[0, 1, 2] = 0.93
    paper = np.full((64, 256), 255, dtype=np.uint8)
    drawn = pixels(draw_symbol(Attention(paper, Reading(parse("barline"), [0.5]), weights), 0)).astype(int)
    height, width, _ = drawn.shape
    glowing = drawn[:, :, 0] - drawn[:, :, 2] > 100  # orange
    y, x = (places.mean() for places in np.nonzero(glowing))
    assert 0.05 < glowing.mean() < 0.15
    assert (y / height, x / width) == (pytest.approx(0.75, abs=0.1), pytest.approx(0.625, abs=0.02))


def test_the_strip_grows_with_the_symbols(attention: Attention) -> None:
    few = dataclasses.replace(
        attention,
        reading=Reading(attention.reading.symbols[:3], attention.reading.confidences[:3]),
        weights=attention.weights[:3],
    )
    whole, beginning = pixels(draw_strip(attention)), pixels(draw_strip(few))
    assert whole.shape[1] == beginning.shape[1]
    assert whole.shape[0] > beginning.shape[0] > 300


def test_a_strip_where_nothing_was_read() -> None:
    nothing = Attention(np.full((64, 256), 255, dtype=np.uint8), Reading([], []), np.zeros((0, 4, 16), np.float32))
    assert pixels(draw_strip(nothing)).shape[1] > 300


def test_file_names_are_plain() -> None:
    symbols = parse("clef-G2 timeSignature-3/4 note-F#5_quarter.|note-D5_quarter.")
    attention = Attention(np.zeros((1, 1), np.uint8), Reading(symbols, [1.0] * 5), np.ones((5, 1, 1), np.float32))
    assert [file_name(attention, index) for index in range(5)] == [
        "001-clef-G2.png",
        "002-timeSignature-3-4.png",
        "003-note-Fsharp5_quarter..png",
        "004-chord.png",
        "005-note-D5_quarter..png",
    ]


def test_the_command_draws_every_symbol(
    model: TrOMR, attention: Attention, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "staff.png"
    picture.write_bytes(encode_png(attention.image))
    checkpoint = save_model(model, tmp_path / "model")
    job = AttentionJob(checkpoint=str(checkpoint), image=str(picture), to=str(tmp_path / "drawn"), device="cpu")
    draw(job)
    names = [file_name(attention, index) for index in range(len(attention.reading.symbols))]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [*sorted(names), "strip.png"]
    assert f"strip.png and {len(names)} symbols" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="drawn: this is there already; name a new folder"):
        draw(job)


def test_the_command_says_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="name all three: checkpoint=FOLDER image=FILE to=FOLDER"):
        draw(AttentionJob(checkpoint="somewhere"))
