"""Every space keeps the contract; and what a space file may not say."""

from __future__ import annotations

from typing import ClassVar

import optuna
import pytest

from datasets.errors import ConfigError
from datasets.mixture import mix
from datasets.shards import PreparedCorpus
from omr_model.config import OptimizerConfig, TokenWeights, TrainingConfig, replace_fields
from omr_model.model import TrOMR
from omr_model.optimizer import decay_groups
from search.compose import ALL, choices, compose, space_names
from search.config import ParameterConfig, PointConfig, SpaceConfig
from search.corpus import fitted
from search.space import SearchSpace
from tests.contracts.space import SMALL_TRAINING, SpaceContract, train
from tests.handmade import of_source, write_corpus
from tests.models import SMALL, training

BASE = TrainingConfig(model=SMALL)


class TestDropout(SpaceContract):
    name = "dropout"
    amid: ClassVar = dict.fromkeys(
        [
            *("backbone_drop_rate", "backbone_drop_path_rate", "encoder_dropout", "encoder_attention_dropout"),
            *("decoder_dropout", "decoder_attention_dropout"),
        ],
        0.4,
    )

    def test_the_logs_values_are_the_backbones_two_rates_together(self, space: SearchSpace) -> None:
        rates = [(values["backbone_drop_rate"], values["backbone_drop_path_rate"]) for values, _ in space.points]
        assert rates == [(0.0, 0.0), (0.1, 0.1), (0.2, 0.2), (0.8, 0.8)]
        others = [name for name in self.amid if not name.startswith("backbone")]
        assert all(values[name] == 0.0 for values, _ in space.points for name in others)
        assert [origin for _, origin in space.points] == [f"training log, run {run}" for run in (51, 56, 55, 57)]


class TestWeightDecay(SpaceContract):
    name = "weight_decay"

    def test_each_switch_lets_the_decay_fall_on_its_parameters(self) -> None:
        model = TrOMR(SMALL)
        decayed = {}
        for fields in ({}, {"decay_norms": True}, {"decay_biases": True}, {"decay_embeddings": True}):
            [first, _] = decay_groups(model, OptimizerConfig(**fields))
            names = {id(weight): name for name, weight in model.named_parameters()}
            decayed[next(iter(fields), "")] = {names[id(weight)] for weight in first["params"]}
        plain = decayed.pop("")
        more = {switch: names - plain for switch, names in decayed.items()}
        assert all(more.values())
        assert all(name.endswith("bias") for name in more["decay_biases"])
        assert more["decay_embeddings"] == {
            "encoder.transformer.pos_embed",
            *(f"decoder.{kind}_embedding.weight" for kind in ("rhythm", "pitch", "lift", "position")),
        }
        everything = {name for name, _ in model.named_parameters()}
        assert plain.union(*more.values()) == everything


class TestDepth(SpaceContract):
    name = "depth"
    amid: ClassVar = {"encoder_depth": 1, "decoder_depth": 2}

    def test_together_is_one_number_and_apart_are_two(self, space: SearchSpace) -> None:
        both = space.settings({"depths": "together", "encoder_depth": 3})
        assert both == {"model.encoder.depth": 3, "model.decoder.depth": 3}
        each = space.settings({"depths": "apart", "encoder_depth": 3, "decoder_depth": 5})
        assert each == {"model.encoder.depth": 3, "model.decoder.depth": 5}
        assert [space.settings(values)["model.decoder.depth"] for values, _ in space.points] == [4, 6]


class TestFocalLoss(SpaceContract):
    name = "focal_loss"
    amid: ClassVar = {"focal_gamma": 2.0}

    def test_off_is_gamma_zero_and_on_is_the_logs(self, space: SearchSpace) -> None:
        off, on = (space.training(space.settings(values)).loss for values, _ in space.points)
        assert off.focal_gamma == 0
        assert (on.focal_gamma, on.focal_alpha, on.focal_branches) == (2.0, 0.25, ("lift",))


class TestTokenWeights(SpaceContract):
    name = "token_weights"
    base = training(epochs=1, staves_per_epoch=64, batch_size=32, validation_staves=2)  # enough for a natural

    def test_lift_x_10_is_the_logs(self, space: SearchSpace) -> None:
        [(values, _)] = space.points
        assert space.training(space.settings(values)).loss.token_weights == TokenWeights(accidental=10.0)


class TestLossMix(SpaceContract):
    name = "loss_mix"

    def test_the_logs_four_pairs(self, space: SearchSpace) -> None:
        pairs = [(values["alpha"], values["beta"]) for values, _ in space.points]
        assert pairs == [(0.1, 0.9), (0.1, 1.0), (0.2, 0.8), (0.4, 0.6)]
        assert space.roles["loss.gamma"] == "nuisance"


class TestBackbone(SpaceContract):
    name = "backbone"

    def test_a_family_brings_what_it_needs(self, space: SearchSpace) -> None:
        families = [space.training(space.settings(values)).model.backbone.family for values, _ in space.points]
        assert families == ["resnetv2", "inception_resnet_v2"]

    def test_what_does_not_fit_the_image_is_refused_at_composition(self) -> None:
        too_deep = "space.parameters.inception_layers.choices=[[1,2,1]]"
        config = compose(["space=backbone", "model=tiny", too_deep])
        with pytest.raises(ConfigError, match=r"inception_layers reaches \[1, 2, 1\]: .*must be multiples of 128 x 32"):
            SearchSpace(config.space, config.training())


class TestDataMix(SpaceContract):
    name = "data_mix"

    def test_the_logs_two_mixes(self, space: SearchSpace) -> None:
        mixes = [space.training(space.settings(values)).train.mix for values, _ in space.points]
        assert [(mix.lengths, mix.negatives > 0) for mix in mixes] == [(2, True), (1, False)]


class TestCorpusWeights(SpaceContract):
    name = "corpus_weights"

    @pytest.fixture(scope="class")
    @classmethod
    def corpus(cls, corpus: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
        """A mixture like the log's."""
        corpora, parts = tmp_path_factory.mktemp("corpora"), ("camera_primus", "grandstaff", "cpms")
        made = [
            write_corpus(corpora, name, of_source(corpus, name, slice(20 * place, 20 * place + 20), slice(0, 3)))
            for place, name in enumerate(parts)
        ]
        return mix(corpora / "log_run_3-short", "log_run_3", made, dict.fromkeys(parts, 1.0))

    def test_the_log_drew_every_staff_once(self, space: SearchSpace) -> None:
        [(values, _)] = space.points
        assert values == space.base_values == dict.fromkeys(values, 1.0)


class TestVocabulary(SpaceContract):
    name = "vocabulary"

    def test_all_trials_are_scored_in_one_vocabulary(self) -> None:
        assert compose(["space=vocabulary", "model=tiny"]).train.scored_in == "reduced"
        assert compose(["space=dropout", "model=tiny"]).train.scored_in == ""
        fixed = compose(["space=vocabulary", "model=tiny", "space.parameters.vocabulary.role=fixed"])
        assert fixed.train.scored_in == ""


class TestOptimizer(SpaceContract):
    name = "optimizer"
    base = training(epochs=1, staves_per_epoch=64, validation_staves=2)  # enough for a warm-up of several steps

    def test_the_logs_two_rates(self, space: SearchSpace) -> None:
        assert [values["learning_rate"] for values, _ in space.points] == [1e-3, 1e-4]


def test_weights_of_sources_that_a_corpus_has_not_are_left_out() -> None:
    everything = compose(["space=[data_mix,corpus_weights]", "model=tiny"])
    embedded = fitted(everything, {"ryansMammoth", "essenFolksong"})
    assert list(embedded.space.parameters) == ["fiddle_weight", "negatives", "lengths", "distortion"]
    mixture = fitted(everything, {"camera_primus", "cpms"})
    assert "cpms_weight" in mixture.space.parameters
    assert not {"fiddle_weight", "grandstaff_weight"} & set(mixture.space.parameters)
    for config in (embedded, mixture):
        assert SearchSpace(config.space, config.training()).points
    alone = compose(["space=corpus_weights", "model=tiny"])
    with pytest.raises(ConfigError, match="data=engraved does not have: grandstaff_weight, cpms_weight; it has essen"):
        fitted(alone, {"essenFolksong"})


def test_all_spaces_in_one_can_be_drawn_from_and_trained(corpus: PreparedCorpus) -> None:
    every = compose(["space=all", "model=tiny"])
    each = [compose([f"space={name}", "model=tiny"]).space for name in space_names(["space=all"])]
    assert len(every.space.parameters) == sum(len(one.parameters) for one in each)
    assert len(every.space.points) == sum(len(one.points) for one in each)
    config = fitted(every, corpus.manifest.sources)
    space = SearchSpace(config.space, SMALL_TRAINING)
    assert space.base_values is not None
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space.queue(study)
    waiting = len(study.trials)
    for _ in range(waiting):
        space.suggest(study.ask())
    for _ in range(3):
        train(space.training(space.suggest(study.ask())), corpus)


def test_a_fixed_parameter_stays_as_the_base_has_it() -> None:
    config = SpaceConfig(
        parameters={
            "schedule": ParameterConfig(
                target="train.dropout.schedule", kind="categorical", choices=["standard", "early"], role="fixed"
            ),
            "cutoff": ParameterConfig(target="train.dropout.cutoff", low=0.1, high=0.9, when={"schedule": "early"}),
            "rate": ParameterConfig(target="model.decoder.dropout", low=0.0, high=0.5, role="nuisance"),
        },
        points={"early": PointConfig(origin="somewhere", values={"schedule": "early", "rate": 0.2})},
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = SearchSpace(config, BASE)
    assert space.roles == {"model.decoder.dropout": "nuisance"}  # the base's schedule needs no cutoff
    assert set(space.suggest(study.ask())) == set(space.roles)
    early = SearchSpace(config, replace_fields(BASE, {"train.dropout.schedule": "early"}))
    assert early.roles == {"train.dropout.cutoff": "scientific", "model.decoder.dropout": "nuisance"}
    assert set(early.suggest(study.ask())) == set(early.roles)
    assert space.points == [({"rate": 0.2}, "somewhere")]


def test_what_hangs_on_a_fixed_switch_is_there_or_not_at_all() -> None:
    """A fixed backbone leaves out the layers of the others; a fixed switch that is off leaves nothing."""
    for model in ("tiny", "paper"):
        config = compose(["space=all", f"model={model}", "space.parameters.backbone.role=fixed"])
        space = SearchSpace(config.space, config.training())
        assert "resnet_layers" in space.parameters
        assert not {"inception_layers", "convnext_layers", "convnext_channels"} & set(space.parameters)
    config = compose(["space=focal_loss", "model=tiny", "space.parameters.focal.role=fixed"])
    with pytest.raises(ConfigError, match="no parameter that exists with focal=off, so there is nothing to search"):
        SearchSpace(config.space, config.training())


def test_how_many_trials_come_before_the_samplers_first() -> None:
    config = compose(["space=dropout", "model=tiny"])
    assert SearchSpace(config.space, config.training()).queued == 4  # the log's dropout of 0 is the base
    assert SearchSpace(config.space, config.training(), resolution=2).queued == 1


def test_a_base_outside_of_the_space_is_tried_all_the_same() -> None:
    config = SpaceConfig(parameters={"rate": ParameterConfig(target="model.decoder.dropout", low=0.2, high=0.5)})
    space = SearchSpace(config, BASE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space.queue(study)
    space.queue(study)
    assert space.base_values is None
    assert space.suggest(study.ask()) == {"model.decoder.dropout": 0.0}
    assert space.suggest(study.ask())["model.decoder.dropout"] >= 0.2


def test_what_a_later_parameter_sets_wins() -> None:
    config = SpaceConfig(
        parameters={
            "focal": ParameterConfig(options={"off": {"loss.focal_gamma": 0.0}, "on": {"loss.focal_gamma": 1.0}}),
            "gamma": ParameterConfig(target="loss.focal_gamma", low=0.5, high=5.0, when={"focal": "on"}),
        }
    )
    space = SearchSpace(config, BASE)
    assert space.settings({"focal": "on", "gamma": 3.0}) == {"loss.focal_gamma": 3.0}
    assert space.values_of({"loss.focal_gamma": 3.0}) == {"focal": "on", "gamma": 3.0}
    assert space.values_of({"loss.focal_gamma": 0.2}) is None


def test_every_space_file_has_its_contract_test() -> None:
    tested = {contract.name for contract in SpaceContract.__subclasses__()}
    assert tested == set(choices("space")) - {ALL}


def test_a_conditional_parameter_is_there_only_when_its_condition_holds() -> None:
    config = SpaceConfig(
        parameters={
            "gamma": ParameterConfig(target="loss.focal_gamma", kind="categorical", choices=[0.0, 2.0]),
            "alpha": ParameterConfig(target="loss.focal_alpha", low=0.1, high=0.9, when={"gamma": 2.0}),
        }
    )
    space = SearchSpace(config, BASE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.suggest(study.ask()) for _ in range(20)]
    assert {settings["loss.focal_gamma"] for settings in drawn} == {0.0, 2.0}
    assert all(("loss.focal_alpha" in settings) == (settings["loss.focal_gamma"] == 2.0) for settings in drawn)


def test_integers_and_logarithms_are_drawn_as_such() -> None:
    config = SpaceConfig(
        parameters={
            "depth": ParameterConfig(target="model.decoder.depth", kind="int", low=1, high=3),
            "rate": ParameterConfig(target="optimizer.learning_rate", low=1e-5, high=1e-2, log=True),
        }
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [SearchSpace(config, BASE).suggest(study.ask()) for _ in range(60)]
    assert {settings["model.decoder.depth"] for settings in drawn} == {1, 2, 3}
    below = sum(settings["optimizer.learning_rate"] < 10**-3.5 for settings in drawn)
    assert 15 < below < 45  # half of a logarithmic range


@pytest.mark.parametrize(
    ("parameters", "points", "message"),
    [
        ({}, {}, "no parameters"),
        (
            {"rate": ParameterConfig(target="model.decoder.dropout", low=0, high=1.5)},
            {},
            r"space parameter rate reaches 1.5: `decoder.dropout` must be between 0 and 0.95",
        ),
        (
            {"rate": ParameterConfig(target="model.decoder.dropout", low=0, high=0.5, when={"gamma": 1})},
            {},
            "`when` names gamma",
        ),
        (
            {"rate": ParameterConfig(target="model.decoder.dropout", low=0, high=0.5)},
            {"far": PointConfig(origin="nowhere", values={"rate": 0.7})},
            "space point far: 0.7 is outside the range of rate",
        ),
        (
            {"rate": ParameterConfig(target="model.decoder.dropout", low=0, high=0.5)},
            {"lost": PointConfig(origin="nowhere", values={"speed": 0.1})},
            "space point lost: no parameter speed; there are rate",
        ),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(
    parameters: dict[str, ParameterConfig], points: dict[str, PointConfig], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSpace(SpaceConfig(parameters=parameters, points=points), BASE)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "gaussian"}, "gaussian"),
        ({"kind": "categorical"}, "needs `choices`"),
        ({"low": 0.0, "high": 0.1, "role": "boss"}, "role"),
        ({"options": {"a": {}}}, "either a `target` or `options`"),
        ({"low": 0.0, "high": 0.1, "step": 0.0}, "`step` must be above 0"),
        ({"low": 1, "high": 4, "kind": "int", "step": 0.5}, "whole for integers"),
        ({"low": 0.1, "high": 0.4, "log": True, "step": 0.1}, "not for a logarithmic range"),
        ({"low": 0.5, "high": 0.1}, "`low` must be below `high`"),
        ({"low": 0.0, "high": 0.1, "log": True}, "must begin above 0"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ParameterConfig(target="model.decoder.dropout", **fields)
