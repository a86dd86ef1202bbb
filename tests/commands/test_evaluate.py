"""``evaluate`` scores once more without the images that were also trained on, and writes down every opening."""

import base64
import csv
import io
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from ferlab.commands.evaluate import OPENINGS, run
from ferlab.commands.launch import Context
from ferlab.commands.mistakes import SHOWN_MISTAKES, explanation, mistakes_picture
from ferlab.config.nodes import Compute, Evaluation
from ferlab.config.schema import EvaluateConfig
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.errors import UserError
from ferlab.evaluation.metrics import HEADLINE
from ferlab.models.build import ModelSpec, build_model
from ferlab.predictions import Predictions
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import read_samples
from ferlab.scoring.gradcam import class_activation
from ferlab.sealed import Opening
from ferlab.tracking.records import find_run

REPEATED = 9
COMPUTE = Compute("local")


@pytest.fixture(scope="module")
def with_twins(
    synthetic_csv: Path, tmp_path_factory: pytest.TempPathFactory, make_request: Any, run_prepare: Any
) -> Prepared:
    """100 Training and 40 PublicTest rows; the first nine of PublicTest have the pixels and label of a Training row."""
    root = tmp_path_factory.mktemp("with-twins") / "csv"
    repeat_training_rows(synthetic_csv, root, 40, REPEATED)
    return run_prepare(make_request(root), root.parent / "out")


@pytest.fixture(scope="module")
def twins_alone(
    synthetic_csv: Path, tmp_path_factory: pytest.TempPathFactory, make_request: Any, run_prepare: Any
) -> Prepared:
    """100 Training rows, and nine of PublicTest that repeat some of them."""
    root = tmp_path_factory.mktemp("twins-alone") / "csv"
    repeat_training_rows(synthetic_csv, root, REPEATED, REPEATED)
    return run_prepare(make_request(root), root.parent / "out")


def repeat_training_rows(source: Path, root: Path, test_rows: int, repeated: int) -> None:
    """A copy with 100 Training rows and ``test_rows`` of PublicTest, the first ``repeated`` of them Training rows."""
    root.mkdir()
    with (source / "fer2013.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    training = [row for row in rows if row["Usage"] == "Training"][:100]
    test = [row for row in rows if row["Usage"] == "PublicTest"][:test_rows]
    for place in range(repeated):
        test[place] = training[7 * place] | {"Usage": "PublicTest"}
    with (root / "fer2013.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["emotion", "pixels", "Usage"], lineterminator="\n")
        writer.writeheader()
        writer.writerows([*training, *test])


@dataclass(frozen=True)
class Place:
    """A home with one recorded model and the data it was trained on."""

    context: Context
    prepared: Prepared
    run_id: str
    model: Any
    printed: io.StringIO

    def evaluate(self, split: str = "test", tta: str = "none") -> dict[str, Any]:
        return run(EvaluateConfig(None, self.run_id, split, Evaluation(100, 0, tta), COMPUTE), self.context)

    def openings(self) -> str | None:
        return find_run(self.run_id).tags.get(OPENINGS)


@pytest.fixture
def place(tf: Any, home: Path) -> Any:
    """``place(prepared)`` gives a ``Place`` with an untrained model on a copy of ``prepared``."""
    import keras

    def make(prepared: Prepared) -> Place:
        shutil.copytree(prepared.folder, home / "prepared" / prepared.folder.name)
        keras.utils.set_random_seed(1)
        classes = prepared.manifest.classes
        model = build_model(ModelSpec("seq1", classes, 48, 1, 32, "none", False, 0.0, 0.25)).model
        printed = io.StringIO()
        context = Context("evaluate", home, {})
        context.terminal.console = Console(file=printed, width=200)
        with context.store.run("train", "study", "seq1") as recorded:
            recorded.log_dataset(prepared.manifest, prepared.folder, "train")
            recorded.log_model(model, np.zeros((2, 48, 48, 1), np.uint8), {"classes": list(classes)})
        return Place(context, prepared, recorded.id, model, printed)

    return make


def answers(place: Place, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Whether the model is right (n,) and whether the sample is a twin (n,), from pixels and labels alone."""

    def read(name: str) -> list[Any]:
        return list(read_samples(place.prepared.folder, place.prepared.manifest, name, Opening("", 0)))

    samples = read(split)
    images = np.stack([sample.pixels for sample in samples])
    right = place.model.predict(images, verbose=0).argmax(axis=1) == [sample.label for sample in samples]
    carved_from = {sample.pixels.tobytes() for name in ("train", "validation") for sample in read(name)}
    return right, np.array([sample.pixels.tobytes() in carved_from for sample in samples])


def test_twins_are_scored_with_and_without(place: Any, with_twins: Prepared) -> None:
    here = place(with_twins)
    result = here.evaluate()
    right, twin = answers(here, "test")
    assert (twin.sum(), len(twin)) == (REPEATED, 40)
    assert right[twin].mean() != right[~twin].mean(), "the two scores could not differ"
    assert result["metrics"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert result["twin_free"]["n"] == 40 - REPEATED
    assert result["twin_free"]["metrics"]["accuracy"]["value"] == pytest.approx(right[~twin].mean())
    assert set(result["twin_free"]["metrics"]) == set(result["metrics"])
    recorded = find_run(result["run_id"])
    assert recorded.metrics["test_accuracy"] == pytest.approx(right.mean())
    assert recorded.metrics["test_twin_free_accuracy"] == pytest.approx(right[~twin].mean())


def test_predictions_of_the_run_say_which_samples_are_twins(place: Any, with_twins: Prepared) -> None:
    here = place(with_twins)
    stored = Predictions.load(find_run(here.evaluate()["run_id"]).artifact("predictions/test.parquet"))
    right, twin = answers(here, "test")
    np.testing.assert_array_equal(stored.twins, twin)
    np.testing.assert_array_equal(stored.predicted == stored.labels, right)


def test_a_person_reads_both_scores(place: Any, with_twins: Prepared) -> None:
    here = place(with_twins)
    report = Path(here.evaluate()["report"]).read_text(encoding="utf-8")
    right, twin = answers(here, "test")
    share = f"{100 * right[~twin].mean():.1f} ["
    assert f"without images whose pixels were also trained on: {share}" in here.printed.getvalue()
    (said,) = re.findall(r"MCC +(-?0\.\d{3}) \[", here.printed.getvalue())
    assert f"<td>{said} [" in report, "one unit on the screen and in the tables"
    assert "9 images" in report
    assert f'<td class="words">without them</td><td>31</td><td>{share}' in report


def test_a_split_of_twins_alone_is_scored_and_says_so(place: Any, twins_alone: Prepared) -> None:
    here = place(twins_alone)
    result = here.evaluate()
    right, twin = answers(here, "test")
    assert twin.all()
    assert result["metrics"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert "twin_free" not in result
    assert "No image is twin-free" in here.printed.getvalue()
    assert "No image is twin-free" in Path(result["report"]).read_text(encoding="utf-8")


def test_data_without_twins_has_one_score(place: Any, prepared: Prepared) -> None:
    here = place(prepared)
    result = here.evaluate()
    assert "twin_free" not in result
    recorded = find_run(result["run_id"])
    assert not [name for name in recorded.metrics if "twin" in name]
    stored = Predictions.load(recorded.artifact("predictions/test.parquet"))
    assert stored.twins is not None
    assert not stored.twins.any()
    assert "0 images" in Path(result["report"]).read_text(encoding="utf-8")
    assert "equal a training image" not in here.printed.getvalue()


def test_surest_mistakes_are_drawn_with_what_spoke_for_them(place: Any, prepared: Prepared) -> None:
    here = place(prepared)
    samples = list(read_samples(prepared.folder, prepared.manifest, "test", Opening("", 0)))
    images, labels = np.stack([one.pixels for one in samples]), np.array([one.label for one in samples])
    probabilities = here.model.predict(images, verbose=0)
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    surest = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:SHOWN_MISTAKES]
    assert len(surest) == SHOWN_MISTAKES
    recorded = find_run(here.evaluate()["run_id"])
    predictions = Predictions.load(recorded.artifact("predictions/test.parquet"))
    explain = explanation(here.model)
    figure = mistakes_picture(prepared.folder, prepared.manifest, predictions, "seq1", explain, Opening("", 0))
    faces, beneath, maps = (figure.axes[0].images[place::3] for place in range(3))
    for drawn in (faces, beneath):
        np.testing.assert_array_equal([one.get_array() for one in drawn], images[surest, ..., 0])
    expected = class_activation(here.model, images[surest], probabilities[surest].argmax(axis=1))
    assert expected.max() == 1
    np.testing.assert_allclose([one.get_array() for one in maps], expected, atol=1e-4)
    file = recorded.artifact("figures/surest_mistakes.png")
    assert file.read_bytes().startswith(b"\x89PNG")
    report = recorded.artifact("report.html").read_text(encoding="utf-8")
    assert base64.b64encode(file.read_bytes()).decode() in report


@pytest.fixture(scope="module")
def with_votes(tmp_path_factory: pytest.TempPathFactory, make_request: Any, run_prepare: Any) -> Prepared:
    """200 drawn faces with FERPlus votes."""
    root = tmp_path_factory.mktemp("with-votes") / "ferplus"
    write_synthetic("ferplus", root, 200, 5)
    return run_prepare(make_request(root, layout="ferplus"), root.parent / "out")


def test_votes_are_what_answers_are_scored_against_once_more(place: Any, with_votes: Prepared) -> None:
    here = place(with_votes)
    result = here.evaluate()
    recorded = find_run(result["run_id"])
    predictions = Predictions.load(recorded.artifact("predictions/test.parquet"))
    with (with_votes.folder.parent.parent / "ferplus" / "fer2013new.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {"happy": "happiness", "sad": "sadness", "angry": "anger"}
    columns = {name: columns.get(name, name) for name in predictions.classes}
    votes = np.array([[int(rows[int(one)][columns[name]]) for name in predictions.classes] for one in predictions.ids])
    shares = votes / votes.sum(axis=1, keepdims=True)
    cross_entropy = -(shares * np.log(predictions.probabilities)).sum(axis=1).mean()
    accepted = np.mean([row[answer] >= 0.3 for row, answer in zip(shares, predictions.predicted, strict=True)])
    assert result["votes"]["vote_cross_entropy"]["value"] == pytest.approx(cross_entropy)
    assert result["votes"]["accepted_share"]["value"] == accepted
    assert recorded.metrics["test_vote_cross_entropy"] == pytest.approx(cross_entropy)
    report = Path(result["report"]).read_text(encoding="utf-8")
    below = report.split("Against the votes</h2>")[1]
    assert f'<td class="words">vote cross entropy</td><td>{cross_entropy:.4f} [' in below


def test_every_opening_is_counted_on_the_run_of_the_model(place: Any, with_twins: Prepared) -> None:
    here = place(with_twins)
    assert here.openings() is None
    here.evaluate("validation")
    assert here.openings() is None
    assert [here.evaluate() and here.openings() for _ in range(2)] == ["1", "2"]
    report = Path(here.evaluate()["report"]).read_text(encoding="utf-8")
    assert re.search(r"test split was opened\W[^0-9]*3\b", report)
    assert here.openings() == "3"


def test_an_opening_that_finds_damage_counts_too(place: Any, with_twins: Prepared) -> None:
    here = place(with_twins)
    folder = Path(here.context.prepared_root) / with_twins.folder.name
    shard = folder / with_twins.manifest.split_shards("test", Opening("", 0))[0].name
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(UserError, match=f"{shard.name}: damaged record"):
        here.evaluate()
    assert here.openings() == "1"
    here.evaluate("validation")


def augmented_answers(place: Place) -> np.ndarray:
    """Whether the model is right (n,) by the mean log probability of the image and its mirror."""
    samples = list(read_samples(place.prepared.folder, place.prepared.manifest, "test", Opening("", 0)))
    images = np.stack([sample.pixels for sample in samples])
    both = [place.model.predict(view, verbose=0) for view in (images, images[:, :, ::-1])]
    return np.log(both).mean(axis=0).argmax(axis=1) == [sample.label for sample in samples]


def test_augmented_scores_stand_beside_the_plain_ones_after_one_opening(place: Any, with_twins: Prepared) -> None:
    here = place(with_twins)
    result = here.evaluate(tta="flip")
    right, _ = answers(here, "test")
    augmented = augmented_answers(here)
    assert here.openings() == "1"
    assert result["metrics"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert (result["tta"]["name"], result["tta"]["n_views"]) == ("flip", 2)
    assert result["tta"]["metrics"]["accuracy"]["value"] == pytest.approx(augmented.mean())
    assert set(result["tta"]["metrics"]) == set(result["metrics"])
    recorded = find_run(result["run_id"])
    assert recorded.metrics["test_accuracy"] == pytest.approx(right.mean())
    assert recorded.metrics["test_tta_accuracy"] == pytest.approx(augmented.mean())
    assert find_run(here.run_id).metrics["test_accuracy"] == pytest.approx(right.mean())


def test_augmented_predictions_have_a_file_of_their_own_that_says_so(place: Any, with_twins: Prepared) -> None:
    here = place(with_twins)
    recorded = find_run(here.evaluate(tta="flip")["run_id"])
    files = [recorded.artifact(f"predictions/{name}.parquet") for name in ("test", "test_tta")]
    assert [pq.read_schema(file).metadata.get(b"ferlab.tta") for file in files] == [None, b"flip"]
    plain, augmented = (Predictions.load(file) for file in files)
    assert plain.ids == augmented.ids
    np.testing.assert_array_equal(plain.predicted == plain.labels, answers(here, "test")[0])
    np.testing.assert_array_equal(augmented.predicted == augmented.labels, augmented_answers(here))
    assert np.abs(plain.probabilities - augmented.probabilities).max() > 1e-4


def test_a_person_reads_which_score_is_augmented(place: Any, with_twins: Prepared) -> None:
    here = place(with_twins)
    report = Path(here.evaluate(tta="ten_crop")["report"]).read_text(encoding="utf-8")
    assert "with test-time augmentation (ten_crop, 10 views): " in here.printed.getvalue()
    assert "With test-time augmentation" in report
    assert "10 views (ten_crop)" in report


def test_without_augmentation_nothing_speaks_of_it(place: Any, with_twins: Prepared) -> None:
    here = place(with_twins)
    result = here.evaluate()
    recorded = find_run(result["run_id"])
    assert "tta" not in result
    assert not [name for name in recorded.metrics if "tta" in name]
    assert "test-time" not in here.printed.getvalue() + Path(result["report"]).read_text(encoding="utf-8")
    with pytest.raises(UserError, match="test_tta"):
        recorded.artifact("predictions/test_tta.parquet")


def fact(report: str, name: str) -> str:
    """What a report's provenance says under a name."""
    (value,) = re.findall(rf"<dt>{re.escape(name)}</dt>\s*<dd>(.*?)</dd>", report)
    return str(value)


def test_repetitions_under_other_seeds_are_gathered(place: Any, with_twins: Prepared) -> None:
    here = place(with_twins)
    alone = here.evaluate()
    said_alone = Path(alone["report"]).read_text(encoding="utf-8")
    assert "Numbers of one run" in said_alone
    assert fact(said_alone, "seeds").startswith("one: ")
    assert not [name for name in find_run(alone["run_id"]).metrics if "over_seeds" in name]
    told = {1: 0.5, 2: 0.7}
    for seed, value in told.items():
        with here.context.store.run("train", "study", f"seq1-s{seed}") as other:
            other.log_dataset(here.prepared.manifest, here.prepared.folder, "train")
            other.log_config({"seed": seed})
            other.log_metrics({f"test_{name}": value for name in HEADLINE})
    with here.context.store.run("train", "study", "never evaluated") as other:
        other.log_dataset(here.prepared.manifest, here.prepared.folder, "train")
        other.log_config({"seed": 3})
    result = here.evaluate()
    own = result["metrics"]["accuracy"]["value"]
    metrics = find_run(result["run_id"]).metrics
    assert metrics["test_accuracy_mean_over_seeds"] == pytest.approx(np.mean([own, 0.5, 0.7]))
    assert metrics["test_accuracy_std_over_seeds"] == pytest.approx(np.std([own, 0.5, 0.7], ddof=1))
    report = Path(result["report"]).read_text(encoding="utf-8")
    assert '<td class="words">this run and its repetitions</td><td>3</td>' in report
    assert "Numbers of one run" not in report
    assert fact(report, "seeds").startswith("3: ")
    assert result["probability_estimates"]["ece"]["low"] <= result["probability"]["ece"]
