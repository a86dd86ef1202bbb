"""What a config and the prepared data come to: batches that fit, and each process's part of them."""

from hydra import compose, initialize_config_dir

from ferlab.commands.launch import machine_facts
from ferlab.commands.training_specs import batch_spec, with_fitting_batches
from ferlab.config.files import conf_folder
from ferlab.config.schema import TrainConfig
from ferlab.config.validate import validate
from ferlab.samples import TRAIN
from ferlab.training import distribution
from ferlab.training.phases import FitSpec


def config_of(*settings: str) -> TrainConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return validate(compose("train", overrides=["dataset=synthetic", *settings]), TrainConfig, machine_facts())


def test_each_of_several_processes_gets_its_own_part_of_every_batch(prepared, monkeypatch):
    monkeypatch.setattr(distribution, "_part", (1, 2))
    spec = batch_spec(config_of("recipe.batch_size=64"), prepared.manifest)
    assert (spec.process, spec.processes, spec.own_size) == (1, 2, 32)
    monkeypatch.undo()
    assert batch_spec(config_of(), prepared.manifest).processes == 1


def test_what_debug_leaves_settles_the_batch_and_the_rate_that_belongs_to_it(prepared):
    left = int(0.1 * sum(prepared.manifest.counts[TRAIN].values()))
    for debug, expected in (((), 256), (("debug=limit", "debug.share=0.1"), left)):
        config = config_of("recipe.batch_size=256", "recipe.rate_batch=256", *debug)
        config = with_fitting_batches(config, prepared.manifest)
        assert batch_spec(config, prepared.manifest).batch_size == config.recipe.batch_size == expected
        phase = FitSpec(config.recipe, config.augment, 0, train_all=False).phase(0)
        assert phase.learning_rate == config.recipe.phases[0].learning_rate * expected / 256
