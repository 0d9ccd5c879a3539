"""What a model has read and how sure it is: ids to symbols, other vocabularies, and greedy decoding's own figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given

from datasets.notation import Symbol, parse
from datasets.vocabulary import BOS, EOS, PAD, vocabulary
from omr_model.decoding import greedy, write
from omr_model.device import autocast
from omr_model.model import TrOMR
from omr_model.reading import Reading, read_off
from tests.contracts.model import restless
from tests.models import SMALL
from tests.strategies import symbol_salad

FULL, REDUCED = vocabulary("full"), vocabulary("reduced")


def test_a_note_is_as_sure_as_its_three_branches_together_anything_else_as_its_rhythm() -> None:
    symbols = parse("clef-G2 note-F#5_quarter barline")
    tokens = FULL.encode(symbols)
    ids_TS = np.stack((tokens.rhythm, tokens.pitch, tokens.lift), axis=1)
    ids_TS = np.insert(ids_TS, 2, (PAD, 1, 1), axis=0)  # which a model may write; it is no symbol
    ids_TS = np.append(ids_TS, [(5, 1, 1)], axis=0)  # after the end there is nothing
    rhythm = [0.1, 0.9, 0.2, 0.5, 0.7, 0.3, 0.4]
    sure_TS = np.array([(share, 0.8, 0.25) for share in rhythm], dtype=np.float32)
    read = read_off(FULL, ids_TS, sure_TS)
    assert (ids_TS[0, 0], ids_TS[-2, 0]) == (BOS, EOS)
    assert read.symbols == symbols
    assert read.confidences == pytest.approx([0.9, 0.5 * 0.8 * 0.25, 0.7])
    assert read.end == pytest.approx(0.3)
    assert read.confidence == pytest.approx((0.9 * 0.1 * 0.7 * 0.3) ** (1 / 4))


def test_nothing_read_is_as_sure_as_its_end() -> None:
    read = read_off(FULL, np.array([(EOS, 0, 0)]), np.array([(0.5, 1, 1)], dtype=np.float32))
    assert (read, read.confidence) == (Reading([], [], 0.5), pytest.approx(0.5))


def test_what_is_cut_off_has_no_end() -> None:
    tokens = FULL.encode(parse("clef-G2"))
    ids_TS = np.stack((tokens.rhythm, tokens.pitch, tokens.lift), axis=1)[1:2]
    read = read_off(FULL, ids_TS, np.array([(0.25, 1, 1)], dtype=np.float32))
    assert (read.end, read.confidence) == (None, pytest.approx(0.25))


@given(symbols=symbol_salad())
def test_in_another_vocabulary_each_symbol_keeps_its_confidence(symbols: list[Symbol]) -> None:
    reading = Reading(symbols, [float(index) for index in range(len(symbols))], 0.5)
    assert reading.in_words_of(FULL) == reading
    simple = reading.in_words_of(REDUCED)
    assert simple.end == 0.5
    assert simple.symbols == REDUCED.reduce(symbols)
    for symbol, index in zip(simple.symbols, simple.confidences, strict=True):
        source = symbols[int(index)]
        assert (symbol.kind, symbol.pitch, symbol.lift) == (source.kind, source.pitch, source.lift)
    assert simple.confidences == sorted(set(simple.confidences))


@pytest.fixture(scope="module")
def model() -> TrOMR:
    torch.manual_seed(0)
    return TrOMR(SMALL)


def test_confidences_are_the_probabilities_of_a_teacher_forced_pass(model: TrOMR) -> None:
    """Over what the model wrote: decoded without an end, all steps but padding and begin are symbols."""
    image = restless(model, SMALL)
    ids_BTS, _ = write(model, image)
    with torch.inference_mode():
        seen_BTS = torch.cat((torch.tensor([[[BOS, 0, 0]]]).expand(3, 1, 3), ids_BTS[:, :-1]), dim=1)
        logits, _ = model.decoder(*seen_BTS.unbind(dim=2), model.encoder(image))
    shares_BTS = torch.stack(
        [
            scores.softmax(dim=-1).gather(2, ids[:, :, None])[:, :, 0]
            for scores, ids in zip((logits.rhythm, logits.pitch, logits.lift), ids_BTS.unbind(dim=2), strict=True)
        ],
        dim=2,
    )
    for read, ids_TS, shares_TS in zip(greedy(model, image), ids_BTS.tolist(), shares_BTS.tolist(), strict=True):
        shares = [each for ids, each in zip(ids_TS, shares_TS, strict=True) if ids[0] not in (PAD, BOS, EOS)]
        assert len(shares) == len(read.symbols)
        for symbol, confidence, (rhythm, pitch, lift) in zip(read.symbols, read.confidences, shares, strict=True):
            assert confidence == pytest.approx(rhythm * pitch * lift if symbol.is_note else rhythm, abs=1e-5)
        assert {symbol.is_note for symbol in read.symbols} == {True, False}


def test_in_low_precision_confidences_are_still_fine(model: TrOMR) -> None:
    """bf16 has two to three digits: taken in it, probabilities near 1 would all be 1."""
    image = restless(model, SMALL)
    with autocast(torch.device("cpu"), "bf16"):
        shares = [share for read in greedy(model, image) for share in read.confidences]
    rounded = torch.tensor(shares).bfloat16().float().tolist()
    assert all(0 < share <= 1 for share in shares)
    assert shares != rounded
