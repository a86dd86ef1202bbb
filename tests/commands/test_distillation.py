"""``recipe=distill teacher=RUN``: what the student's run keeps of its teacher, who may teach, what a kill leaves."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from ferlab import interrupts
from ferlab.commands.launch import Context, machine_facts
from ferlab.commands.resumption import checkpoints_of, startable
from ferlab.commands.teacher import FOLDER, teacher_of
from ferlab.commands.train import profile, train
from ferlab.config.files import conf_folder
from ferlab.config.schema import TrainConfig
from ferlab.config.validate import validate
from ferlab.errors import UserError
from ferlab.models.build import ModelSpec, build_model
from ferlab.predictions import PREDICTIONS, Predictions
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import load_split
from ferlab.scoring.views import View, combine_views
from ferlab.tracking.records import RunRecord, find_run
from ferlab.training.distillation import ANSWERS

pytestmark = pytest.mark.slow

SETTINGS = (
    "dataset=synthetic", "dataset.synthesize.count=700", "study=edge", "backbone=seq1", "backbone.width=0.1",
    "recipe.batch_size=64", "recipe.phases.0.epochs=2", "compute.device=cpu", "recipe.precision=float32",
)  # fmt: skip
RecordTeacher = Callable[..., str]


@dataclass(frozen=True)
class Place:
    """A tracking store and what was printed."""

    context: Context
    printed: io.StringIO

    def config(self, *overrides: str) -> TrainConfig:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            composed = compose("train", overrides=[*SETTINGS, *overrides])
        raw: Any = OmegaConf.to_container(composed, resolve=True)
        self.context.raw = raw
        return validate(composed, TrainConfig, machine_facts())


@pytest.fixture
def place(tf: Any, home: Path) -> Place:
    context = Context("train", home, {})
    printed = io.StringIO()
    context.terminal.console = Console(file=printed, width=200)
    return Place(context, printed)


def network(seed: int) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    model = build_model(ModelSpec("seq1", tuple("abcdefg"), 48, 1, None, "none", False, 0.0, 0.1)).model
    logits = model.get_layer("logits")
    logits.set_weights([20 * weight for weight in logits.get_weights()])  # sure of something, like a trained one
    return model


def mean_of(*members: Any) -> Any:
    """Several networks as one."""
    import keras

    image = keras.Input((48, 48, 1), dtype="uint8", name="image")
    for number, member in enumerate(members):
        member.name = f"member{number}"
    return keras.Model(image, keras.layers.Average(name="probabilities")([member(image) for member in members]))


@pytest.fixture
def record_teacher(place: Place, prepared: Prepared) -> RecordTeacher:
    """``record_teacher(stage="train", model=None, **changes)``: id of a recorded run; changes to what it predicts."""

    def record(stage: str = "train", model: Any = None, name: str = "big", **changes: Any) -> str:
        manifest = prepared.manifest
        with place.context.store.run(stage, "edge", name) as run:
            run.log_dataset(prepared.manifest, prepared.folder, stage)
            run.log_model(model or network(1), np.zeros((2, 48, 48, 1), np.uint8), {"classes": list(manifest.classes)})
            said = Predictions(
                ("one",), np.zeros(1, np.int64), np.eye(7)[:1], manifest.classes, "validation", manifest.taxonomy,
                manifest.protocol, manifest.digest, run.id,
            )  # fmt: skip
            run.log_saved(replace(said, **changes).save, "validation.parquet", "predictions")
        return str(run.id)

    return record


def agreement(model: Any, prepared: Prepared) -> float:
    """Share of the training images whose label the model gives, over the image and its mirror."""
    split = load_split(prepared.folder, prepared.manifest, "train")
    views = [model.predict(view.of(split.images), verbose=0) for view in (View(), View(mirrored=True))]
    return float((combine_views(np.stack(views)).argmax(axis=1) == split.labels).mean())


def test_a_student_of_an_ensemble_names_its_teacher(
    place: Place, prepared: Prepared, record_teacher: RecordTeacher
) -> None:
    model = mean_of(network(1), network(2))
    teacher = record_teacher("ensemble", model)
    config = place.config("recipe=distill", "teacher=big")
    assert (config.recipe.distill, config.recipe.distill_temperature, config.recipe.label_smoothing) == (0.7, 4, 0)
    student = find_run(train(config, place.context, prepared, None).run_id)
    assert student.status == "FINISHED"
    assert student.tags["ferlab.from.teacher"] == teacher
    assert (student.params["teacher"], student.config()["teacher"]) == (teacher, teacher)
    expected = agreement(model, prepared)
    assert 0 < expected < 1
    assert student.metrics["teacher_agreement"] == pytest.approx(expected)
    assert f"teacher {teacher} agrees with {100 * expected:.1f} % of the training labels" in place.printed.getvalue()
    assert not checkpoints_of(student.id, place.context).folder.exists()
    assert student.load_model().output_shape == (None, 7)


@pytest.mark.slow
def test_a_seed_gives_the_same_start_with_and_without_a_teacher(
    place: Place, prepared: Prepared, record_teacher: RecordTeacher
) -> None:
    """At a rate of nothing the outcome is the start."""
    record_teacher()
    still = ("recipe.phases.0.epochs=1", "recipe.phases.0.learning_rate=1e-8", "recipe.phases.0.weight_decay=0")
    models = []
    for overrides in (("recipe=scratch_sgd",), ("recipe=distill", "teacher=big")):
        trained = train(place.config(*overrides, *still), place.context, prepared, None)
        models.append(find_run(trained.run_id).load_model())
    for one, other in zip(*(model.trainable_variables for model in models), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def stopped_after_an_epoch(
    config: TrainConfig, place: Place, prepared: Prepared, patch: pytest.MonkeyPatch
) -> RunRecord:
    """As by Ctrl-C; the first look for one is before the run begins."""
    looks = []

    def stop() -> None:
        looks.append(1)
        if len(looks) > 1:
            raise KeyboardInterrupt

    patch.setattr(interrupts, "check", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config, place.context, prepared, None, name="stopped")
    patch.undo()
    return find_run("stopped")


def test_a_resumed_student_goes_on_with_the_answers_that_were_kept(
    place: Place, prepared: Prepared, record_teacher: RecordTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its teacher is gone by then; the numbers are those of a training that was not stopped."""
    teacher = record_teacher()
    config = place.config("recipe=distill", "teacher=big")
    whole = find_run(train(config, place.context, prepared, None).run_id)
    stopped = stopped_after_an_epoch(config, place, prepared, monkeypatch)
    checkpoints = checkpoints_of(stopped.id, place.context)
    assert (checkpoints.folder / FOLDER / ANSWERS).is_file()
    assert stopped.metrics["teacher_agreement"] == whole.metrics["teacher_agreement"]
    recorded = OmegaConf.create(startable(stopped.config(), checkpoints.current()))
    monkeypatch.setattr(RunRecord, "load_model", lambda record: pytest.fail(f"{record.name} was asked again"))
    with checkpoints.alone(stopped.id):
        going_on = validate(recorded, TrainConfig, machine_facts())
        assert going_on.teacher == teacher
        train(going_on, place.context, prepared, None, interrupted=stopped)
    resumed = find_run(stopped.id)
    assert resumed.status == "FINISHED"
    for name in ("epoch/loss", "epoch/val_loss", "teacher_agreement"):
        assert resumed.metrics[name] == pytest.approx(whole.metrics[name], rel=1e-3), name


@pytest.mark.slow
def test_a_profile_learns_from_the_teacher_too(place: Place, prepared: Prepared, record_teacher: RecordTeacher) -> None:
    teacher = record_teacher()
    config = place.config("recipe=distill", "teacher=big", "debug=profile", "debug.profile_steps=8")
    recorded = find_run(profile(config, place.context, prepared, None)["run_id"])
    assert (recorded.tags["ferlab.from.teacher"], recorded.status) == (teacher, "FINISHED")
    assert recorded.artifact("profile/profile.json").is_file()
    assert not (recorded.artifact("profile") / ANSWERS).exists()


def refusal(place: Place, prepared: Prepared, reference: str) -> str:
    """What is said of a teacher; nothing is begun for its student."""
    with pytest.raises(UserError) as caught:
        train(place.config("recipe=distill", f"teacher={reference}"), place.context, prepared, None, name="student")
    with pytest.raises(UserError, match="no such run"):
        find_run("student")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": "fer2013/official"}, ("protocol fer2013/official", "with synthetic/carved")),
        (
            {"classes": ("disgust", "angry", "fear", "happy", "sad", "surprise", "neutral")},
            ("classes disgust, angry, fear, happy, ", "with angry, disgust, fear, happy, "),
        ),
        ({"dataset_digest": "ab" * 32}, ("dataset digest abababababababab…",)),
    ],
    ids=["protocol", "order of classes", "other images"],
)
def test_a_teacher_of_other_data_is_refused_with_both_named(
    place: Place, prepared: Prepared, record_teacher: RecordTeacher, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    teacher = record_teacher(**changes)
    message = refusal(place, prepared, teacher[:8])
    assert message.startswith(f"teacher={teacher[:8]}: run {teacher} (big) learned with ")
    for expected in (*words, *([prepared.manifest.digest[:16]] if "dataset_digest" in changes else [])):
        assert expected in message


def test_only_a_finished_training_or_ensemble_teaches(
    place: Place, prepared: Prepared, record_teacher: RecordTeacher
) -> None:
    prepare = record_teacher("prepare", name="data")
    assert refusal(place, prepared, "data") == (
        f"teacher=data: run {prepare} (data) is prepare and FINISHED: only a finished training or ensemble can teach."
    )
    with pytest.raises(KeyboardInterrupt), place.context.store.run("train", "edge", "stopped"):
        raise KeyboardInterrupt
    assert "is train and KILLED" in refusal(place, prepared, "stopped")
    assert "no such run" in refusal(place, prepared, "nobody")


def test_a_run_without_predictions_cannot_show_what_it_learned(
    place: Place, prepared: Prepared, record_teacher: RecordTeacher
) -> None:
    teacher = record_teacher()
    find_run(teacher).artifact(PREDICTIONS).unlink()
    assert PREDICTIONS in refusal(place, prepared, "big")


def test_several_runs_of_one_name_are_told_apart_by_their_ids(
    place: Place, prepared: Prepared, record_teacher: RecordTeacher
) -> None:
    ids = [record_teacher(), record_teacher()]
    assert all(run_id in refusal(place, prepared, "big") for run_id in ids)
    assert teacher_of(ids[1], place.context, prepared.manifest).id == ids[1]
