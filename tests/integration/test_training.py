"""The trainer on real staves: it learns, repeats itself, resumes to the same numbers, and stops when it diverges."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from datasets.errors import CheckpointError, CorpusError, DivergedError, VocabularyError
from datasets.files import restore_folder
from datasets.shards import PreparedCorpus
from omr_model import checkpoint
from omr_model.config import DropoutScheduleConfig, MixConfig, TrainingConfig
from omr_model.data import EpochOrder, StaffDataset, validation_choice
from omr_model.mix import MixPlan, Stock
from omr_model.optimizer import learning_rate
from omr_model.trainer import EpochRecord, Trainer
from tests.models import SMALL, printed_on, training

GROUP_NORM = {"norm": "group", "channels": (32, 32, 32), "stem_channels": 32, "bottle_ratio": 1.0}
TIMES = ("seconds", "data_seconds", "gpu_seconds", "samples_per_second", "peak_memory_bytes", "energy_joules")


def numbers(records: list[EpochRecord]) -> list[dict[str, float]]:
    """What must repeat: everything but times and memory."""
    return [{name: value for name, value in record.metrics().items() if name not in TIMES} for record in records]


def test_training_lowers_the_loss(corpus: PreparedCorpus) -> None:
    records = Trainer(training(epochs=6, staves_per_epoch=48, learning_rate=3e-3), corpus).fit()
    assert records[-1].losses["total"] < 0.7 * records[0].losses["total"]
    assert [record.epoch for record in records] == [1, 2, 3, 4, 5, 6]


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(corpus: PreparedCorpus) -> None:
    dropping = dataclasses.replace(SMALL, decoder=dataclasses.replace(SMALL.decoder, dropout=0.3))
    first, again, other = (Trainer(training(dropping, seed=seed), corpus).fit() for seed in (1, 1, 2))
    assert numbers(first) == numbers(again)
    assert numbers(first) != numbers(other)


def test_a_resumed_training_goes_on_to_the_same_numbers(corpus: PreparedCorpus, tmp_path: Path) -> None:
    dropping = dataclasses.replace(SMALL, encoder=dataclasses.replace(SMALL.encoder, dropout=0.3))
    config = training(dropping, epochs=3)
    whole = Trainer(config, corpus)

    def keep_the_first(record: EpochRecord) -> None:
        if record.epoch == 1:
            checkpoint.save(whole, record, tmp_path / "first")

    uninterrupted = whole.fit(keep_the_first)
    resumed = Trainer(config, corpus)
    checkpoint.restore(resumed, tmp_path / "first")
    assert numbers(resumed.fit()) == numbers(uninterrupted[1:])


def test_a_checkpoint_gives_the_same_model_back(corpus: PreparedCorpus, tmp_path: Path) -> None:
    trainer = Trainer(training(epochs=1), corpus)
    trainer.fit(lambda record: checkpoint.save(trainer, record, tmp_path / "one"))
    model = checkpoint.load_model(tmp_path / "one", torch.device("cpu"))
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert checkpoint.describe(tmp_path / "one").config == trainer.config
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one"]


@pytest.mark.parametrize("part", ["loss", "weights"])
def test_a_nan_stops_the_training_as_diverged(corpus: PreparedCorpus, part: str) -> None:
    trainer = Trainer(training(), corpus)
    if part == "weights":
        next(trainer.model.parameters()).data.fill_(float("nan"))
    else:
        trainer.loss.rhythm_weights = torch.full_like(trainer.loss.rhythm_weights, float("nan"))
    with pytest.raises(DivergedError, match="no longer finite within 2 steps of epoch 1"):
        trainer.fit()
    assert trainer.epoch == 0


def test_weights_that_the_last_step_spoilt_are_no_completed_training(corpus: PreparedCorpus) -> None:
    trainer = Trainer(training(epochs=1), corpus)
    step = trainer._step

    def spoil(number: int) -> None:
        step(number)
        if number == 1:
            next(trainer.model.decoder.parameters()).data.fill_(float("nan"))

    trainer._step = spoil  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match="validation loss after epoch 1 is not finite"):
        trainer.fit()


def test_loader_processes_change_no_number(corpus: PreparedCorpus) -> None:
    dropping = dataclasses.replace(SMALL, decoder=dataclasses.replace(SMALL.decoder, dropout=0.3))
    alone, helped = (Trainer(training(dropping, workers=workers), corpus).fit() for workers in (0, 1))
    assert numbers(alone) == numbers(helped)


def test_a_checkpoint_survives_a_crash_between_two_renames(corpus: PreparedCorpus, tmp_path: Path) -> None:
    trainer = Trainer(training(epochs=1), corpus)
    trainer.fit(lambda record: checkpoint.save(trainer, record, tmp_path / "c"))
    (tmp_path / "c").rename(tmp_path / ".c.old")
    restore_folder(tmp_path / "c")
    assert checkpoint.describe(tmp_path / "c").epoch == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_too(corpus: PreparedCorpus, precision: str) -> None:
    records = Trainer(training(epochs=4, staves_per_epoch=48, precision=precision), corpus).fit()
    assert records[-1].losses["total"] < records[0].losses["total"]


def test_a_loss_that_grows_stops_the_training_as_diverged(corpus: PreparedCorpus) -> None:
    trainer = Trainer(training(learning_rate=1.0), corpus)
    trainer.first_loss = 1e-3  # as if the untrained model had been that good
    with pytest.raises(DivergedError, match=r"a smaller optimizer\.learning_rate than 1 may help"):
        trainer.fit()


def test_the_rate_of_every_step_is_the_schedules(corpus: PreparedCorpus) -> None:
    config = training(epochs=4, warmup=0.25, learning_rate=1e-3, schedule="linear")
    records = Trainer(config, corpus).fit()
    assert [record.learning_rate for record in records] == [
        learning_rate(config.optimizer, step, 8) for step in (1, 3, 5, 7)
    ]


def test_gradients_of_small_batches_add_up_to_those_of_a_large_one(corpus: PreparedCorpus) -> None:
    """One step over four batches of four is one step over sixteen, but for the batch statistics: none here."""
    still = dataclasses.replace(SMALL, backbone=dataclasses.replace(SMALL.backbone, **GROUP_NORM))
    large = Trainer(training(still, epochs=1, staves_per_epoch=16, batch_size=16), corpus)
    small = Trainer(training(still, epochs=1, staves_per_epoch=16, batch_size=4, accumulation=4), corpus)
    assert (large.steps, small.steps, len(small.order)) == (1, 1, 4)
    small.model.load_state_dict(large.model.state_dict())
    before = [weight.detach().clone() for weight in large.model.parameters()]
    for trainer in (large, small):
        trainer.optimizer.zero_grad()
        trainer._step = lambda _: None  # type: ignore[method-assign]
        for index, batch in enumerate(trainer.loader):
            trainer._learn(batch, index)
    assert all(torch.equal(was, now) for was, now in zip(before, large.model.parameters(), strict=True))
    named = zip(large.model.named_parameters(), small.model.parameters(), strict=True)
    for (name, of_large), of_small in named:
        assert of_large.grad is not None, name
        assert of_small.grad is not None, name
        similarity = torch.nn.functional.cosine_similarity(of_large.grad.flatten(), of_small.grad.flatten(), dim=0)
        if of_large.grad.norm() > 1e-6:
            assert similarity > 0.9, name  # each batch averages over its own symbols, so not quite equal


def test_a_schedule_turns_dropout_off_at_its_cutoff(corpus: PreparedCorpus) -> None:
    dropping = dataclasses.replace(SMALL, decoder=dataclasses.replace(SMALL.decoder, dropout=0.5))
    early = DropoutScheduleConfig(schedule="early", cutoff=0.5)
    trainer = Trainer(training(dropping, epochs=4, dropout=early), corpus)
    rates = [module for module in trainer.model.modules() if isinstance(module, torch.nn.Dropout) and module.p == 0.5]
    assert rates
    seen = []
    trainer.fit(lambda _: seen.append({module.p for module in rates}))
    assert [len(one) for one in seen] == [1, 1, 1, 1]
    after = [one.pop() for one in seen]
    assert 0 < after[0] < 0.5  # after the second of eight steps
    assert after[1] == pytest.approx(0.5 * 2 / 6)  # a quarter of the way is left: the second of six stairs
    assert after[2:] == [0.0, 0.0]


def test_scores_in_another_vocabulary_have_its_references(corpus: PreparedCorpus) -> None:
    own = Trainer(training(validation_staves=None), corpus).evaluate()
    other = Trainer(training(validation_staves=None, scored_in="reduced"), corpus).evaluate()
    reduced = Trainer(
        training(dataclasses.replace(SMALL, vocabulary="reduced"), validation_staves=None), corpus
    ).evaluate()
    assert [staff.reference for staff in other.staves] == [staff.reference for staff in reduced.staves]
    assert [staff.reference for staff in own.staves] != [staff.reference for staff in other.staves]


def test_weight_decay_leaves_norms_biases_and_embeddings_alone(corpus: PreparedCorpus) -> None:
    trainer = Trainer(training(weight_decay=0.5), corpus)
    decayed, free = trainer.optimizer.param_groups
    names = {id(weight): name for name, weight in trainer.model.named_parameters()}
    free_names = {names[id(weight)] for weight in free["params"]}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.5, 0.0)
    assert {"decoder.rhythm_embedding.weight", "decoder.heads.note.bias"} <= free_names
    assert "encoder.transformer.pos_embed" in free_names
    assert all(weight.ndim >= 2 for weight in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_every_staff_is_drawn_before_one_is_drawn_again() -> None:
    order = EpochOrder(MixPlan(Stock(["a"] * 10), MixConfig(), seed=3), per_epoch=6, batch_size=2, accumulation=1)
    drawn: list[int] = []
    for epoch in range(5):
        order.epoch = epoch
        drawn += [draw.position for batch in order for draw in batch]
    assert len(drawn) == 30
    for start in (0, 10, 20):
        assert sorted(drawn[start : start + 10]) == list(range(10))
    assert drawn[:10] != drawn[10:20]


def test_an_epoch_may_be_longer_than_the_split() -> None:
    order = EpochOrder(MixPlan(Stock(["a"] * 5), MixConfig(), seed=0), per_epoch=12, batch_size=4, accumulation=1)
    order.epoch = 1
    assert [len(batch) for batch in order] == [4, 4, 4]


def test_every_trial_is_scored_on_the_same_staves() -> None:
    assert validation_choice(100, 10) == validation_choice(100, 10)
    assert len(set(validation_choice(100, 10))) == 10
    assert validation_choice(5, 10) == validation_choice(5, None) == [0, 1, 2, 3, 4]


def test_staves_of_another_size_are_refused(corpus: PreparedCorpus) -> None:
    with pytest.raises(CorpusError, match="64 x 256 pixels, but the model reads 32 x 256"):
        Trainer(training(dataclasses.replace(SMALL, height=32)), corpus)


def test_sequences_that_are_too_long_are_refused_before_training(corpus: PreparedCorpus) -> None:
    with pytest.raises(CorpusError, match="the model writes at most 4"):
        Trainer(training(dataclasses.replace(SMALL, max_length=6)), corpus)


def test_symbols_outside_the_vocabulary_are_refused_before_training(
    corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.shards import Staves

    monkeypatch.setattr(Staves, "semantic", lambda self, index: "clef-G2 multirest-4711")  # noqa: ARG005
    with pytest.raises(VocabularyError, match="multirest-4711"):
        Trainer(training(), corpus)


class TestDamage:
    """What `checkpoint` says of folders that are none."""

    @pytest.fixture
    def folder(self, corpus: PreparedCorpus, tmp_path: Path) -> Path:
        trainer = Trainer(training(epochs=1), corpus)
        trainer.fit(lambda record: checkpoint.save(trainer, record, tmp_path / "c"))
        return tmp_path / "c"

    def test_no_checkpoint(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"is no checkpoint: it has no checkpoint\.json"):
            checkpoint.describe(tmp_path / "nothing")

    def test_torn_description(self, folder: Path) -> None:
        (folder / "checkpoint.json").write_text('{"format": 1, "conf')
        with pytest.raises(CheckpointError, match="is damaged"):
            checkpoint.describe(folder)

    def test_references_to_the_environment(self, folder: Path) -> None:
        text = (folder / "checkpoint.json").read_text()
        (folder / "checkpoint.json").write_text(text.replace('"device": "cpu"', '"device": "${oc.env:HOME}"'))
        with pytest.raises(CheckpointError, match="has values, not references"):
            checkpoint.describe(folder)

    def test_torn_weights(self, folder: Path) -> None:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
            checkpoint.load_model(folder, torch.device("cpu"))
        weights.unlink()
        with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
            checkpoint.load_model(folder, torch.device("cpu"))

    def test_one_bit(self, folder: Path) -> None:
        weights = folder / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
            checkpoint.load_model(folder, torch.device("cpu"))

    def test_torn_resume_state(self, folder: Path, corpus: PreparedCorpus) -> None:
        (folder / "resume.pt").write_bytes(b"torn")
        with pytest.raises(CheckpointError, match=r"resume\.pt is damaged"):
            checkpoint.restore(Trainer(training(epochs=1), corpus), folder)

    def test_a_checkpoint_from_before_there_were_digests(self, folder: Path, corpus: PreparedCorpus) -> None:
        text = json.loads((folder / "checkpoint.json").read_text())
        del text["digests"]
        (folder / "checkpoint.json").write_text(json.dumps(text))
        resumed = Trainer(training(epochs=1), corpus)
        checkpoint.restore(resumed, folder)
        assert resumed.epoch == 1
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        (folder / "resume.pt").write_bytes(b"torn")
        with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
            checkpoint.load_model(folder, torch.device("cpu"))
        with pytest.raises(CheckpointError, match=r"resume\.pt cannot be read"):
            checkpoint._resume(folder, checkpoint.describe(folder))

    @pytest.mark.parametrize("part", ["model.safetensors", "resume.pt", "checkpoint.json"])
    def test_the_one_before_is_taken(self, folder: Path, corpus: PreparedCorpus, tmp_path: Path, part: str) -> None:
        """Damaged and missing ones are told and passed over, and leave no trace in the trainer."""
        damaged = shutil.copytree(folder, tmp_path / "damaged")
        (damaged / part).write_bytes((damaged / part).read_bytes()[:-10])
        trainer = Trainer(training(epochs=1), corpus)
        untouched = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        none = checkpoint.restore_newest(trainer, [damaged, tmp_path / "gone"])
        assert none.folder is None
        assert trainer.epoch == 0
        assert not trainer.optimizer.state
        assert all(torch.equal(tensor, untouched[name]) for name, tensor in trainer.model.state_dict().items())
        assert "is damaged" in none.notes[0]
        assert "is no checkpoint" in none.notes[1]
        assert checkpoint.restore_newest(trainer, [damaged, folder]) == checkpoint.Restored(folder, none.notes[:1])
        assert trainer.epoch == 1

    def test_weights_of_another_model(self, folder: Path) -> None:
        text = json.loads((folder / "checkpoint.json").read_text())
        text["config"]["model"]["embedding"] = 64
        (folder / "checkpoint.json").write_text(json.dumps(text))
        with pytest.raises(CheckpointError, match="does not fit the model"):
            checkpoint.load_model(folder, torch.device("cpu"))

    def test_another_vocabulary(self, folder: Path) -> None:
        text = json.loads((folder / "checkpoint.json").read_text())
        (folder / "checkpoint.json").write_text(json.dumps(text | {"vocabulary": "full-0"}))
        with pytest.raises(CheckpointError, match="trained with vocabulary full-0"):
            checkpoint.load_model(folder, torch.device("cpu"))

    def test_another_configuration(self, folder: Path, corpus: PreparedCorpus) -> None:
        other: TrainingConfig = training(epochs=1, learning_rate=2e-3)
        with pytest.raises(CheckpointError, match="of another configuration"):
            checkpoint.restore(Trainer(other, corpus), folder)


def test_labels_are_tokenised_in_the_words_of_the_vocabulary(corpus: PreparedCorpus) -> None:
    from datasets.vocabulary import vocabulary

    reduced = vocabulary("reduced")
    data = StaffDataset(corpus.staves("train"), reduced)
    sample = data[0]
    assert reduced.decode(sample.tokens.rhythm, sample.tokens.pitch, sample.tokens.lift) == printed_on(data, 0)
    assert sample.image.shape == (64, 256)
