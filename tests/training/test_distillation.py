"""A student is held to its teacher's answers: which they are, that each meets its image, what they change."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from ferlab.config.nodes import Augment, Phase, Recipe
from ferlab.errors import UserError
from ferlab.models.build import ModelSpec, build_model
from ferlab.models.catalog import AFFECT, PROBABILITIES
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import Annotations, SplitArrays, load_split
from ferlab.scoring.views import View, combine_views
from ferlab.training.augmentation import changer
from ferlab.training.checkpoint import Checkpoints
from ferlab.training.distillation import ANSWERS, Answers, answers_of, student
from ferlab.training.features import features_of
from ferlab.training.fit import Watch, fit
from ferlab.training.inputs import BatchSpec, TrainingData, training_data
from ferlab.training.losses import losses_of
from ferlab.training.phases import FitSpec
from ferlab.training.targets import TEACHER, Targets

SPEC = BatchSpec(50, 3, "none", tuple(0.5 + 0.25 * i for i in range(7)), 0, memory_bytes=1e9)
MODES = {"memory": 1e9, "shards": 0}
MakeNetwork = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("tf")


@pytest.fixture(params=MODES.values(), ids=MODES.keys())
def memory_bytes(request: pytest.FixtureRequest) -> float:
    return request.param


@pytest.fixture(scope="module")
def train(prepared: Prepared) -> SplitArrays:
    return load_split(prepared.folder, prepared.manifest, "train")


def data_of(prepared: Prepared, **changes: Any) -> TrainingData:
    return training_data(prepared.folder, prepared.manifest, replace(SPEC, **changes))


def asked(model: Any, data: TrainingData, folder: Path, teacher: str = "one") -> Answers:
    return answers_of(teacher, lambda: model, data, folder, lambda done, total: None)


def nobody() -> Any:
    pytest.fail("the teacher was asked again")


def any_answers(count: int, classes: int = 7) -> np.ndarray:
    """Of every sample others."""
    return softmax(np.random.default_rng(9).normal(0, 3, (count, classes)), axis=1).astype(np.float32)


def test_the_answers_are_the_teachers_to_an_image_and_its_mirror(
    make_network: MakeNetwork, prepared: Prepared, train: SplitArrays, memory_bytes: float, tmp_path: Path
) -> None:
    teacher, told = make_network(), []
    answers = answers_of(
        "one", lambda: teacher, data_of(prepared, memory_bytes=memory_bytes), tmp_path, lambda *now: told.append(now)
    )
    views = [teacher.predict(view.of(train.images), verbose=0) for view in (View(), View(mirrored=True))]
    assert np.abs(views[0] - views[1]).max() > 0.01, "the mirror does not matter to this teacher"
    both = combine_views(np.stack(views))
    np.testing.assert_allclose(answers.tempered(1), both, atol=1e-5)
    assert answers.agreement == pytest.approx((both.argmax(axis=1) == train.labels).mean())
    assert told == [(done, len(train.labels)) for done in (*range(256, len(train.labels), 256), len(train.labels))]


def test_tempered_answers_are_the_softmax_of_logits_over_the_temperature() -> None:
    logits = np.random.default_rng(0).normal(0, 4, (20, 7))
    answers = Answers(log_softmax(logits, axis=1).astype(np.float32), 0.5)
    for temperature in (0.5, 1.0, 4.0):
        np.testing.assert_allclose(answers.tempered(temperature), softmax(logits / temperature, axis=1), atol=1e-6)
        assert answers.tempered(temperature).dtype == np.float32


def test_a_teacher_that_is_sure_beyond_float32_can_be_tempered(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path
) -> None:
    """Its probabilities are 0 and 1, whose logarithms would not be numbers."""
    teacher = make_network()
    teacher.get_layer("logits").set_weights([1e4 * weight for weight in teacher.get_layer("logits").get_weights()])
    answers = asked(teacher, data_of(prepared), tmp_path)
    assert np.isfinite(answers.log_probabilities).all()
    np.testing.assert_allclose(answers.tempered(4).sum(axis=1), 1, rtol=1e-5)


def test_of_a_teacher_with_two_heads_the_classes_count(prepared: Prepared, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    spec = ModelSpec("seq1", prepared.manifest.classes, 48, 1, 32, "none", False, 0.0, 0.1, affect=True)
    model, data = build_model(spec).model, data_of(prepared)
    alone = keras.Model(model.input, model.output[PROBABILITIES])
    two = asked(model, data, tmp_path / "two")
    np.testing.assert_allclose(two.tempered(1), asked(alone, data, tmp_path / "alone").tempered(1), atol=1e-6)


def test_kept_answers_are_found_again_and_the_teacher_is_not_asked(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path
) -> None:
    first = asked(make_network(), data_of(prepared), tmp_path)
    for memory_bytes in MODES.values():
        again = answers_of("one", nobody, data_of(prepared, memory_bytes=memory_bytes), tmp_path, lambda *now: None)
        np.testing.assert_array_equal(first.log_probabilities, again.log_probabilities)
        assert first.agreement == again.agreement


@pytest.mark.parametrize("change", ["teacher", "dataset", "cut short", "another file", "empty"])
def test_answers_of_something_else_are_replaced(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path, change: str
) -> None:
    data, file, name = data_of(prepared), tmp_path / ANSWERS, "one"
    asked(make_network(seed=0), data, tmp_path)
    if change == "teacher":
        name = "two"
    elif change == "dataset":
        data = replace(data, manifest=replace(data.manifest, digest="another"))
    elif change == "cut short":
        file.write_bytes(file.read_bytes()[:-200])
    elif change == "another file":
        np.savez(file, other=np.zeros(3))
    else:
        file.write_bytes(b"")
    found = asked(make_network(seed=1), data, tmp_path, name)
    fresh = asked(make_network(seed=1), data, tmp_path / "fresh", name)
    np.testing.assert_array_equal(found.log_probabilities, fresh.log_probabilities)
    answers_of(name, nobody, data, tmp_path, lambda *now: None)


def test_a_teacher_without_numbers_is_refused_in_one_line(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path
) -> None:
    broken = make_network()
    broken.get_layer("logits").set_weights([weight * np.nan for weight in broken.get_layer("logits").get_weights()])
    with pytest.raises(UserError, match=r"^teacher=one: .* not numbers") as refusal:
        asked(broken, data_of(prepared), tmp_path)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_the_teacher_answers_leaves_nothing(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answers_of("one", make_network, data_of(prepared), tmp_path, stop)
    assert not list(tmp_path.iterdir())


def test_the_teacher_sees_no_test_shard(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path, memory_bytes: float
) -> None:
    for shard in prepared.manifest.shards:
        if shard.split != "test":
            (tmp_path / shard.name).symlink_to(prepared.folder / shard.name)
    data = training_data(tmp_path, prepared.manifest, replace(SPEC, memory_bytes=memory_bytes))
    assert len(asked(make_network(), data, tmp_path / "answers").log_probabilities) == data.train.count


@pytest.mark.parametrize("balance", ["none", "weights", "sampling"])
def test_every_image_comes_with_its_own_answer(
    prepared: Prepared, train: SplitArrays, memory_bytes: float, balance: str
) -> None:
    taught = any_answers(len(train.labels))
    places = {image.tobytes(): place for place, image in enumerate(train.images)}
    data = data_of(prepared, memory_bytes=memory_bytes, balance=balance).with_teacher(taught)
    for epoch in (0, 3):
        for images, targets, *weights in data.train.epoch(epoch, None):
            rows = [places[image.tobytes()] for image in images]
            np.testing.assert_array_equal(targets[TEACHER], taught[rows])
            np.testing.assert_array_equal(targets[PROBABILITIES], np.eye(7)[train.labels[rows]])
            expected = [np.float32(SPEC.class_weights)[train.labels[rows]]] if balance == "weights" else []
            np.testing.assert_array_equal(weights, expected)


def test_each_process_has_the_answers_to_its_own_images(
    prepared: Prepared, train: SplitArrays, memory_bytes: float
) -> None:
    """Streamed, a process counts the samples of its own shards; from memory, all samples."""
    answers = {image.tobytes(): answer for image, answer in zip(train.images, any_answers(560), strict=False)}
    for process in (0, 1):
        data = data_of(prepared, memory_bytes=memory_bytes, processes=2, process=process)
        blocks = np.concatenate([images for images, _ in data.train.blocks()])
        taught = np.stack([answers[image.tobytes()] for image in blocks])
        for images, targets in data.with_teacher(taught).train.epoch(1, None):
            assert len(images) == SPEC.batch_size // 2
            np.testing.assert_array_equal(targets[TEACHER], [answers[image.tobytes()] for image in images])


def test_a_teacher_changes_neither_order_nor_pixels(prepared: Prepared, memory_bytes: float) -> None:
    data, change = data_of(prepared, memory_bytes=memory_bytes), changer(replace(Augment("mix"), mixup=0.4, flip=True))
    taught = data.with_teacher(any_answers(data.train.count))
    for alone, beside in zip(data.train.epoch(2, change), taught.train.epoch(2, change), strict=True):
        np.testing.assert_array_equal(alone[0], beside[0])
        np.testing.assert_array_equal(alone[1], beside[1][PROBABILITIES])


@pytest.mark.parametrize("affect", [False, True])
@pytest.mark.parametrize("mix", [{"mixup": 1.0}, {"cutmix": 1.0}], ids=["mixup", "cutmix"])
def test_answers_mix_with_the_share_of_their_labels(prepared: Prepared, mix: dict[str, float], affect: bool) -> None:
    """A teacher that always says the class after the label's: so it does of mixed images."""
    known = Annotations.room_for(60, prepared.manifest)
    known.labels[:], known.affect[:] = np.arange(60) % 7, 0.25
    images = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 1), dtype=np.uint8)
    taught = np.eye(7, dtype=np.float32)[(known.labels + 1) % 7]
    _, targets, weights = Targets(prepared.manifest, SPEC.class_weights, affect).batch(
        images, known, changer(replace(Augment("mix"), **mix)), np.random.default_rng(2), taught
    )
    assert (targets[PROBABILITIES].max(axis=1) < 0.99).sum() > 20
    np.testing.assert_allclose(targets[TEACHER], np.roll(targets[PROBABILITIES], 1, axis=1), atol=1e-6)
    np.testing.assert_allclose(weights, targets[PROBABILITIES] @ np.float32(SPEC.class_weights), rtol=1e-5)
    assert set(targets) == {PROBABILITIES, TEACHER, *([AFFECT] if affect else [])}


@pytest.mark.parametrize("held", [1e9, 0], ids=["memory", "file"])
def test_cached_features_keep_their_answers(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path, held: float
) -> None:
    data = data_of(prepared, memory_bytes=held)
    data = data.with_teacher(any_answers(data.train.count))
    for _ in range(2):  # made, then found again
        found = features_of(make_network(), data, Augment("none"), 0, tmp_path, lambda *now: None).batches
        places = {row.tobytes(): place for place, row in enumerate(found.copies[0])}
        assert len(places) > 0.9 * data.train.count
        for features, targets in found.epoch(1, None):
            rows = [places[row.tobytes()] for row in features]
            same = np.isclose(targets[TEACHER], data.train.taught[rows]).all(axis=1)
            assert same.mean() > 0.9  # images whose features are equal cannot be told apart


def loss_value(
    recipe: Recipe, answers: dict[str, np.ndarray], wanted: dict[str, Any], targets: str, weights: Any
) -> float:
    """The loss over a batch as ``fit`` computes it for a network that answers so."""
    import keras

    inputs = {name: keras.Input(array.shape[1:], name=name) for name, array in answers.items()}
    same = {name: keras.layers.Identity()(one) for name, one in inputs.items()}
    logits = keras.Model(inputs, same if len(same) > 1 else same[PROBABILITIES])
    model = student(logits, recipe.distill_temperature) if recipe.distill else logits
    loss, loss_weights = losses_of(targets, recipe)
    model.compile(loss=loss, loss_weights=loss_weights, jit_compile=False)
    wanted = {name: np.asarray(array, np.float32) for name, array in wanted.items()}
    told: Any = wanted if recipe.distill or recipe.affect else wanted[PROBABILITIES]
    return float(model.test_on_batch(answers, told, sample_weight=weights, return_dict=True)["loss"])


LOGITS = np.array([[2.0, 0.5, -1.0], [0.0, 3.0, 1.0], [-2.0, 0.0, 0.25], [5.0, 5.0, -5.0]], np.float32)
LABELS = np.eye(3)[[0, 2, 1, 1]]
TAUGHT = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.25, 0.5], [0.0, 1.0, 0.0]])
WEIGHTS = np.array([1.0, 2.0, 0.5, 0.0], np.float32)


def cross_entropy(wanted: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return -(wanted * log_softmax(logits.astype(np.float64), axis=1)).sum(axis=1)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize(("share", "temperature"), [(0.7, 4.0), (0.3, 1.0), (1.0, 2.5)])
def test_the_loss_is_that_of_hinton(share: float, temperature: float, weights: Any) -> None:
    recipe = Recipe("distill", distill=share, distill_temperature=temperature, label_smoothing=0.1)
    found = loss_value(recipe, {PROBABILITIES: LOGITS}, {PROBABILITIES: LABELS, TEACHER: TAUGHT}, "majority", weights)
    hard = cross_entropy(0.9 * LABELS + 0.1 / 3, LOGITS)
    soft = cross_entropy(TAUGHT, LOGITS / temperature) * temperature**2
    each = ((1 - share) * hard + share * soft) * (1 if weights is None else weights)
    assert found == pytest.approx(each.mean(), rel=1e-5)


def test_the_labels_share_keeps_the_loss_of_its_targets() -> None:
    """Of several valid answers the most probable, of valence and arousal the squared error, beside the teacher's."""
    recipe = Recipe("distill", distill=0.4, distill_temperature=2.0, affect=0.5)
    affect = {"found": np.array([[0.5, 0.0]] * 4, np.float32), "wanted": np.array([[0.0, 0.0]] * 4, np.float32)}
    valid = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1]])
    found = loss_value(
        recipe,
        {PROBABILITIES: LOGITS, AFFECT: affect["found"]},
        {PROBABILITIES: valid, AFFECT: affect["wanted"], TEACHER: TAUGHT},
        "multi_target",
        None,
    )
    likelihood = np.where(valid > 0, log_softmax(LOGITS, axis=1), -np.inf).max(axis=1)
    expected = 0.6 * -likelihood + 0.4 * 4 * cross_entropy(TAUGHT, LOGITS / 2) + 0.5 * 0.125
    assert found == pytest.approx(expected.mean(), rel=1e-5)


def test_without_a_share_the_loss_is_the_labels_own() -> None:
    found = loss_value(Recipe("plain"), {PROBABILITIES: LOGITS}, {PROBABILITIES: LABELS}, "majority", None)
    assert found == pytest.approx(cross_entropy(LABELS, LOGITS).mean(), rel=1e-5)


def trained(model: Any, data: TrainingData, folder: Path, epochs: int, augment: str = "none", **recipe: Any) -> Any:
    phases = [Phase("all", epochs, 5e-3, optimizer="adam", schedule="constant")]
    spec = FitSpec(Recipe("test", phases=phases, **recipe), Augment(augment, flip=True), 0, train_all=True)
    rows: list[Any] = []
    fit(model, data, spec, Checkpoints(folder), Watch(lambda *step: None, rows.append))
    return rows


def distance(teacher: Any, model: Any, images: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of ``model`` from ``teacher``, in nats."""
    its, ours = (one.predict(images, verbose=0).astype(np.float64) for one in (teacher, model))
    return float(np.mean(entropy(its, np.maximum(ours, 1e-12), axis=1)))


@pytest.mark.parametrize(
    ("held", "more"),
    [(1e9, {}), (0, {}), (1e9, {"sharpness": 0.05, "ema": 0.5})],
    ids=["memory", "shards", "sharpness, moving average"],
)
def test_a_student_comes_nearer_to_its_teacher_than_without_it(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path, held: float, more: dict[str, float]
) -> None:
    """On validation images, which neither of them has learned; the teacher has seen more epochs than the students."""
    data = data_of(prepared, memory_bytes=held)
    teacher = make_network(seed=7)
    trained(teacher, data, tmp_path / "teacher", 12)
    answers = asked(teacher, data, tmp_path)
    images = np.concatenate(list(data.validation.batches()))
    alone, taught = make_network(seed=1), make_network(seed=1)
    trained(alone, data, tmp_path / "alone", 4, **more)
    rows = trained(
        taught, data.with_teacher(answers.tempered(3)), tmp_path / "taught", 4,
        distill=0.9, distill_temperature=3.0, **more,
    )  # fmt: skip
    near, far = distance(teacher, taught, images), distance(teacher, alone, images)
    assert near < 0.7 * far, (near, far)
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(rows[-1].metrics)
    assert [weight.path for weight in taught.weights] == [weight.path for weight in alone.weights]
