"""A training that goes on from another one's checkpoint with a configuration of its own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from datasets.errors import CheckpointError
from datasets.shards import PreparedCorpus
from omr_model import checkpoint
from omr_model.config import TrainingConfig, replace_fields
from omr_model.trainer import Trainer
from tests.models import training

BASE = training(epochs=3, weight_decay=0.1)
OTHER = {
    "optimizer.learning_rate": 5e-4,
    "optimizer.weight_decay": 0.3,
    "optimizer.beta1": 0.8,
    "model.decoder.dropout": 0.3,
    "model.backbone.drop_path_rate": 0.2,
    "train.dropout.schedule": "late",
    "train.mix.lengths": 2,
}


@pytest.fixture(scope="module")
def donor(corpus: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Path]:
    """A trainer that has finished two of three epochs, and its checkpoint."""
    folder = tmp_path_factory.mktemp("donor") / "second"
    trainer = Trainer(BASE, corpus)

    def stop_after_the_second(record: object) -> None:
        if trainer.epoch == 2:
            checkpoint.save(trainer, record, folder)  # type: ignore[arg-type]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(stop_after_the_second)
    return trainer, folder


def adopting(config: TrainingConfig, corpus: PreparedCorpus, folder: Path) -> Trainer:
    trainer = Trainer(config, corpus)
    checkpoint.restore(trainer, folder, adopt=True)
    return trainer


def test_weights_moments_and_epoch_are_the_donors(corpus: PreparedCorpus, donor: tuple[Trainer, Path]) -> None:
    given, folder = donor
    trainer = adopting(replace_fields(BASE, OTHER), corpus, folder)
    assert trainer.epoch == 2
    for name, tensor in given.model.state_dict().items():
        assert torch.equal(tensor, trainer.model.state_dict()[name]), name
    theirs, ours = given.optimizer.state_dict()["state"], trainer.optimizer.state_dict()["state"]
    assert set(theirs) == set(ours)
    assert all(torch.equal(theirs[index]["exp_avg"], ours[index]["exp_avg"]) for index in theirs)


def test_settings_are_the_trainers_own(corpus: PreparedCorpus, donor: tuple[Trainer, Path]) -> None:
    given, folder = donor
    trainer = adopting(replace_fields(BASE, OTHER), corpus, folder)
    decayed, free = trainer.optimizer.param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    assert (decayed["betas"], free["betas"]) == ((0.8, 0.999), (0.8, 0.999))
    assert len(decayed["params"]) == len(given.optimizer.param_groups[0]["params"])
    assert trainer.config.model.decoder.dropout == 0.3


def test_it_goes_on_training_to_the_end(corpus: PreparedCorpus, donor: tuple[Trainer, Path]) -> None:
    given, folder = donor
    trainer = adopting(replace_fields(BASE, OTHER), corpus, folder)
    [record] = trainer.fit()
    assert record.epoch == 3
    assert record.learning_rate < 5e-4
    before, after = given.model.state_dict(), trainer.model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_with_the_same_settings_it_comes_to_the_same_numbers(
    corpus: PreparedCorpus, donor: tuple[Trainer, Path]
) -> None:
    _, folder = donor
    resumed = Trainer(BASE, corpus)
    checkpoint.restore(resumed, folder)
    [record], [again] = resumed.fit(), adopting(BASE, corpus, folder).fit()
    assert record.losses == again.losses


def test_another_loss_is_not_held_against_the_donors_first_one(
    corpus: PreparedCorpus, donor: tuple[Trainer, Path]
) -> None:
    given, folder = donor
    assert adopting(replace_fields(BASE, OTHER), corpus, folder).first_loss == given.first_loss
    louder = adopting(replace_fields(BASE, {"loss.alpha": 100.0}), corpus, folder)
    assert louder.first_loss == math.inf
    assert [record.epoch for record in louder.fit()] == [3]  # its loss is a multiple of what the donor began with


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("model.decoder.depth", 2),
        ("train.batch_size", 4),
        ("train.seed", 7),
        ("optimizer.decay_norms", True),
        ("train.epochs", 4),
    ],
)
def test_what_cannot_change_is_refused(
    corpus: PreparedCorpus, donor: tuple[Trainer, Path], target: str, value: object
) -> None:
    _, folder = donor
    with pytest.raises(CheckpointError, match=f"differs in {target}, which cannot change during a training"):
        adopting(replace_fields(BASE, {target: value}), corpus, folder)


def test_without_being_asked_to_nothing_is_adopted(corpus: PreparedCorpus, donor: tuple[Trainer, Path]) -> None:
    _, folder = donor
    with pytest.raises(CheckpointError, match="of another configuration"):
        checkpoint.restore(Trainer(replace_fields(BASE, {"model.decoder.dropout": 0.1}), corpus), folder)


def test_where_it_runs_may_change(corpus: PreparedCorpus, donor: tuple[Trainer, Path]) -> None:
    given, folder = donor
    elsewhere = Trainer(replace_fields(BASE, {"train.device": "cpu", "train.workers": 1}), corpus)
    assert elsewhere.config != given.config
    checkpoint.restore(elsewhere, folder)
    assert elsewhere.epoch == 2
