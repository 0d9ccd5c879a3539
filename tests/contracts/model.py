"""What every model preset must do; a test class inherits this and names its configuration."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from omr_model.config import LossConfig, ModelConfig
from omr_model.decoding import greedy
from omr_model.loss import TrOMRLoss
from omr_model.model import TrOMR
from omr_model.reading import Reading
from tests.models import random_batch
from tests.slow_decoding import greedy_slowly


class ModelContract:
    """Inherit, and set `config`."""

    config: ModelConfig

    @pytest.fixture
    def model(self) -> TrOMR:
        torch.manual_seed(0)
        return TrOMR(self.config)

    def test_scores_have_a_column_for_every_entry_of_each_branch(self, model: TrOMR) -> None:
        batch = random_batch(self.config)
        logits = model(batch)
        words, steps = model.vocabulary, batch.rhythm.shape[1] - 1
        widths = {"rhythm": len(words.rhythm), "pitch": len(words.pitch), "lift": len(words.lift), "note": 2}
        assert {branch: tuple(scores.shape) for branch, scores in logits.items()} == {
            branch: (3, steps, width) for branch, width in widths.items()
        }

    def test_a_position_sees_nothing_of_what_follows(self, model: TrOMR) -> None:
        model.eval()
        batch = random_batch(self.config)
        changed = dataclasses.replace(batch, rhythm=batch.rhythm.clone())
        changed.rhythm[:, 4:] = 5
        with torch.no_grad():
            before, after = model(batch), model(changed)
        torch.testing.assert_close(before.rhythm[:, :4], after.rhythm[:, :4])
        assert not torch.allclose(before.rhythm[:, 4:], after.rhythm[:, 4:])

    def test_the_picture_matters(self, model: TrOMR) -> None:
        model.eval()
        one, other = random_batch(self.config, seed=0), random_batch(self.config, seed=1)
        with torch.no_grad():
            assert not torch.allclose(model(one).pitch, model(other).pitch)

    def test_every_weight_gets_a_gradient(self, model: TrOMR) -> None:
        batch = random_batch(self.config)
        TrOMRLoss(LossConfig(), model.vocabulary)(model(batch), batch).total.backward()
        without = [name for name, weight in model.named_parameters() if weight.grad is None]
        assert without == []

    def test_the_cache_changes_no_score(self, model: TrOMR) -> None:
        model.eval()
        batch = random_batch(self.config)
        with torch.no_grad():
            whole = model(batch).pitch
            picture, cache = model.encoder(batch.image), None
            for step in range(whole.shape[1]):
                seen = slice(0, step + 1)
                logits, cache = model.decoder(
                    batch.rhythm[:, seen], batch.pitch[:, seen], batch.lift[:, seen], picture, cache
                )
                torch.testing.assert_close(logits.pitch[:, -1], whole[:, step], atol=1e-4, rtol=1e-4)

    def test_cached_decoding_reads_what_uncached_decoding_reads(self, model: TrOMR) -> None:
        image = restless(model, self.config)
        read, uncached = greedy(model, image), greedy_slowly(model, image)
        assert_alike(read, uncached)
        assert len({str(symbol) for reading in read for symbol in reading.symbols}) > 1

    def test_decoding_is_that_of_one_staff_alone(self, model: TrOMR) -> None:
        image = restless(model, self.config)
        together = greedy(model, image)
        assert_alike(together, [greedy(model, image[index : index + 1])[0] for index in range(3)])


def assert_alike(some: list[Reading], others: list[Reading]) -> None:
    """The same symbols; probabilities but for rounding."""
    assert [one.symbols for one in some] == [other.symbols for other in others]
    for one, other in zip(some, others, strict=True):
        assert one.confidences == pytest.approx(other.confidences, abs=1e-4)


def restless(model: TrOMR, config: ModelConfig) -> torch.Tensor:
    """Make an untrained model write different symbols one after another; images for it to read."""
    model.eval()
    for head in model.decoder.heads.values():
        torch.nn.init.normal_(head.weight, std=1.0)
    for embedding in (model.decoder.rhythm_embedding, model.decoder.position_embedding):
        torch.nn.init.normal_(embedding.weight, std=1.0)
    return random_batch(config, staves=3).image
