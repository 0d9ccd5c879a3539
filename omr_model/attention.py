"""`python -m omr_model.attention`: where on a staff the model looked as it wrote each symbol.

    python -m omr_model.attention checkpoint=runs/first image=staff.png to=attention

writes `strip.png`, the whole staff in one picture, and `001-clef-G2.png` and so on, a picture a symbol. The training
log left "drawing the attention" on its list of what to check; this is it.

Letters in tensor names: B staves, T symbols, L layers of the decoder, N heads, P cells of the picture, S branches.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.command_line import check_target, main
from datasets.errors import ConfigError
from datasets.files import new_folder
from datasets.images import Gray, fit, read_gray
from datasets.vocabulary import BOS, NO_NOTE
from omr_model.checkpoint import load_model
from omr_model.decoder import Logits
from omr_model.decoding import write
from omr_model.device import resolve_device
from omr_model.model import TrOMR
from omr_model.reading import Reading, read_off

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRIP_FILE = "strip.png"
INK, PAPER = "#222222", "#ffffff"
HEAT = (PAPER, "#9ecae1", "#0072b2", "#08306b")  # light to dark in one hue: no colour has to be told from another
GLOW = (0xF0, 0x8A, 0x24)  # orange, which leaves the black of the notes as it is
WIDTH, ROW, DPI = 10.0, 0.2, 130  # inches, inches a symbol, dots an inch
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
SPELT = {"#": "sharp", "/": "-", "|": "chord"}


@dataclass(frozen=True)
class Attention:
    """The decoder's cross-attention over one staff, as it wrote what it read.

    The weights are means over all layers and heads. That hides that heads do different things: one may look at the note
    that is written, another back at the clef, and both come out half as strong. A weight says where features were taken
    from, not what they did there; and a cell's features know of its surroundings, which encoder and backbone mix in.

    Attributes:
        image: the picture as the model saw it, uint8 [H, W].
        reading: what was read of it, T symbols.
        weights: of each symbol over the cells of the picture, [T, rows, columns]; a symbol's add up to 1.
    """

    image: Gray
    reading: Reading
    weights: npt.NDArray[np.float32]


@torch.inference_mode()
def attend(model: TrOMR, image: Gray) -> Attention:
    """Read one picture greedily, and look at what the model attended to; its mode is put back afterwards.

    Args:
        image: of any size; it is fitted to the model's.
    """
    was_training = model.training
    model.eval()
    try:
        seen = fit(image, model.config.height, model.config.width)
        image_11HW = torch.from_numpy(seen)[None, None].to(next(model.parameters()).device)
        ids_1TS, probabilities_1TS = write(model, image_11HW)
        _, weights_1LNTP = attentive_pass(model, ids_1TS, model.encoder(image_11HW))
    finally:
        model.train(was_training)
    ids_TS = ids_1TS[0].cpu().numpy()
    steps = model.vocabulary.written(ids_TS[:, 0].tolist())
    weights_TP = weights_1LNTP[0].float().mean(dim=(0, 1)).cpu().numpy()[steps]
    return Attention(
        image=seen,
        reading=read_off(model.vocabulary, ids_TS, probabilities_1TS[0].cpu().numpy()),
        weights=_over_cells(weights_TP, *model.encoder.grid),
    )


def _over_cells(weights_TP: npt.NDArray[np.float32], rows: int, columns: int) -> npt.NDArray[np.float32]:
    """[T, rows, columns]; what went to a class token, which comes before the cells, is shared out over them."""
    cells_TP = weights_TP[:, -rows * columns :]
    cells_TP = cells_TP / cells_TP.sum(axis=1, keepdims=True) if cells_TP.shape != weights_TP.shape else cells_TP
    return cells_TP.reshape(len(cells_TP), rows, columns)


def attentive_pass(model: TrOMR, ids_BTS: Tensor, picture_BPD: Tensor) -> tuple[Logits, Tensor]:
    """The decoder over what it wrote, teacher-forced, with the weights of its cross-attention.

    Fused kernels keep no weights, so that the same attention is computed step by step; scores agree but for rounding.

    Args:
        ids_BTS: what `decoding.write` returned.
        picture_BPD: the encoder's features.

    Returns:
        Scores at each of the T steps, and weights [B, L, N, T, P], which add up to 1 over the cells.
    """
    begin_B1S = torch.full_like(ids_BTS[:, :1], NO_NOTE)
    begin_B1S[..., 0] = BOS
    seen_BTS = torch.cat((begin_B1S, ids_BTS[:, :-1]), dim=1)
    with _unfused(model):
        logits, hidden = model.decoder(*seen_BTS.unbind(dim=2), picture_BPD)
    layers = [each.post_softmax_attn for each in hidden.attn_intermediates if each.layer_type == "c"]
    return logits, torch.stack(layers, dim=1)


@contextmanager
def _unfused(model: TrOMR) -> Iterator[None]:
    """Cross-attention without fused kernels within the block."""
    blocks = model.decoder.attention
    cross = [layer[1].attend for kind, layer in zip(blocks.layer_types, blocks.layers, strict=True) if kind == "c"]
    before = [attention.flash for attention in cross]
    try:
        for attention in cross:
            attention.flash = False
        yield
    finally:
        for attention, flash in zip(cross, before, strict=True):
            attention.flash = flash


def draw_strip(attention: Attention) -> bytes:
    """The whole staff as a PNG: above the staff, beneath it a row a symbol, from top to bottom as they were written.

    A row shows how much of the attention goes to each column of cells; all rows have one scale.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    symbols = attention.reading.symbols
    height, width = attention.image.shape
    tall = WIDTH * 0.8 * height / width
    if not symbols:
        figure = Figure(figsize=(WIDTH, tall + 2 * ROW), dpi=DPI, layout="constrained")
        _staff(figure.subplots(), attention.image, "Nothing was read")
        return _png(figure)
    parts = (tall, ROW * len(symbols), ROW / 2)
    figure = Figure(figsize=(WIDTH, sum(parts) + 6 * ROW), dpi=DPI, layout="constrained")
    staff, rows, scale = figure.subplots(3, 1, height_ratios=parts)
    _staff(staff, attention.image, "Where the model looked, symbol by symbol")
    heat = rows.imshow(
        attention.weights.sum(axis=1),
        cmap=LinearSegmentedColormap.from_list("heat", HEAT),
        vmin=0,
        aspect="auto",
        interpolation="nearest",
        extent=(0, width, len(symbols), 0),
    )
    rows.hlines(np.arange(1, len(symbols)), 0, width, color=PAPER, lw=1)
    rows.set_xticks([])
    rows.set_title("confidence", loc="right", fontsize=8, color=INK)
    places = np.arange(len(symbols)) + 0.5
    rows.set_yticks(places, [str(symbol) for symbol in symbols], fontsize=8, color=INK)
    sure = rows.secondary_yaxis("right")
    sure.set_yticks(places, [f"{each:.2f}" for each in attention.reading.confidences], fontsize=8, color=INK)
    for axes in (rows, sure):
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(heat, cax=scale, orientation="horizontal", format=PercentFormatter(1.0, symbol=" %"))
    bar.set_label("share of the attention, mean of layers and heads", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)
    return _png(figure)


def draw_symbol(attention: Attention, index: int) -> bytes:
    """One symbol as a PNG: the staff on paper that glows where the model looked, the stronger the more.

    The strongest cell has the full colour, and the title says what share it has.
    """
    from matplotlib.figure import Figure

    height, width = attention.image.shape
    weights_RC = attention.weights[index]
    rows, columns = weights_RC.shape
    of_pixels_HW = weights_RC[np.arange(height)[:, None] * rows // height, np.arange(width) * columns // width]
    glow_HWC = 1 - (of_pixels_HW / weights_RC.max())[..., None] * (1 - np.array(GLOW) / 255)
    figure = Figure(figsize=(WIDTH, WIDTH * height / width + 0.4), dpi=DPI, layout="constrained")
    symbols, confidence = attention.reading.symbols, attention.reading.confidences[index]
    title = (
        f"{index + 1} of {len(symbols)}:  {symbols[index]}   confidence {confidence:.2f}, "
        f"strongest cell {100 * weights_RC.max():.1f} % of the attention"
    )
    _staff(figure.subplots(), attention.image[..., None] / 255 * glow_HWC, title)
    return _png(figure)


def _staff(axes: Axes, picture: npt.NDArray[Any], title: str) -> None:
    """A picture as gray levels [H, W], 0..255, or as colours [H, W, 3], 0..1."""
    height, width = picture.shape[:2]
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, aspect="auto", extent=(0, width, height, 0))
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_axis_off()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class AttentionJob:
    """Attributes.

    checkpoint: folder of a checkpoint or of an exported trial.
    image: a picture of one staff.
    to: a new folder for the pictures.
    device: cpu, cuda, or auto: the GPU where there is one.
    """

    checkpoint: str = ""
    image: str = ""
    to: str = ""
    device: str = "auto"


def draw(job: AttentionJob) -> None:
    """Draw where on a staff a model looked: `strip.png`, and a picture for each symbol, in the new folder `to`.

    python -m omr_model.attention checkpoint=results/studies/dropout-1/best image=staff.png to=attention
    """
    if not (job.checkpoint and job.image and job.to):
        raise ConfigError("name all three: checkpoint=FOLDER image=FILE to=FOLDER")
    to = Path(job.to)
    if to.exists():
        raise ConfigError(f"to={to}: this is there already; name a new folder")
    check_target("to", to, folder=True)
    image = read_gray(Path(job.image))
    attention = attend(load_model(Path(job.checkpoint), resolve_device(job.device, "device")), image)
    symbols = attention.reading.symbols
    with new_folder(to) as folder:
        (folder / STRIP_FILE).write_bytes(draw_strip(attention))
        for index in tqdm(range(len(symbols)), unit="symbol", disable=not sys.stderr.isatty(), leave=False):
            (folder / file_name(attention, index)).write_bytes(draw_symbol(attention, index))
    print(f"{to}: {STRIP_FILE} and {len(symbols)} symbols, read with confidence {attention.reading.confidence:.2f}")


def file_name(attention: Attention, index: int) -> str:
    """`003-note-Fsharp5_quarter.png`: a name that every file system and every address can hold."""
    symbol = str(attention.reading.symbols[index])
    for sign, spelt in SPELT.items():
        symbol = symbol.replace(sign, spelt)
    return f"{index + 1:03}-{UNSAFE.sub('-', symbol)}.png"


if __name__ == "__main__":
    main(draw, AttentionJob())
