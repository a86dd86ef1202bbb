"""Preparation end to end with real Spark: right, repeatable, and complete or absent whatever happens."""

import csv
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from ferlab.errors import UserError
from ferlab.manifest import MANIFEST_NAME, REJECTED_NAME, Manifest, load_complete
from ferlab.preparation.plan import WORK
from ferlab.preparation.spark import Watch
from ferlab.records.load import load_split, read_samples
from ferlab.sealed import Opening
from ferlab.storage.files import no_space_error

from .conftest import contents, folder_of, litter

OPENING = Opening("run", 1)
NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


@pytest.fixture(scope="module")
def rows(synthetic_csv) -> list[tuple[int, np.ndarray, str]]:
    """The CSV read with the standard library: label, pixels, usage."""
    with (synthetic_csv / "fer2013.csv").open(newline="") as file:
        return [
            (int(row["emotion"]), np.array(row["pixels"].split(), np.uint8).reshape(48, 48), row["Usage"])
            for row in csv.DictReader(file)
        ]


# --- what is in it


def test_the_counts_are_those_of_the_csv(prepared, rows):
    counts, per_usage = prepared.manifest.counts, Counter((usage, NAMES[label]) for label, _, usage in rows)
    for name in NAMES:
        assert counts["test"][name] == per_usage["PublicTest", name]
        assert counts["train"][name] + counts["validation"][name] == per_usage["Training", name]
        assert counts["validation"][name] == round(0.1 * per_usage["Training", name])
    assert sum(prepared.manifest.excluded.values()) == sum(1 for *_, usage in rows if usage == "PrivateTest")
    assert prepared.manifest.total == len(rows) - 70
    assert prepared.manifest.rejected == {}


def test_tensorflow_finds_every_face_of_the_csv_once_with_its_label(prepared, rows, tf):
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in ("id", "image")}
    spec["label"] = tf.io.FixedLenFeature([], tf.int64)
    files = [str(prepared.folder / shard.name) for shard in prepared.manifest.shards]
    seen = []
    for batch in tf.data.TFRecordDataset(files).batch(100).map(lambda m: tf.io.parse_example(m, spec)):
        for sample_id, image, label in zip(*(batch[name].numpy() for name in ("id", "image", "label")), strict=True):
            expected_label, pixels, _ = rows[int(sample_id)]
            assert label == expected_label
            np.testing.assert_array_equal(tf.io.decode_png(image).numpy()[:, :, 0], pixels)
            seen.append(int(sample_id))
    assert sorted(seen) == [i for i, (*_, usage) in enumerate(rows) if usage != "PrivateTest"]


def test_our_reader_gives_the_same_splits(prepared, rows):
    ids: set[str] = set()
    for split, usage in (("train", "Training"), ("validation", "Training"), ("test", "PublicTest")):
        found = list(read_samples(prepared.folder, prepared.manifest, split, OPENING))
        for sample in found:
            label, pixels, true_usage = rows[int(sample.id)]
            assert (sample.label, true_usage) == (label, usage)
            np.testing.assert_array_equal(sample.pixels[:, :, 0], pixels)
        assert not ids & {sample.id for sample in found}
        ids |= {sample.id for sample in found}
    assert len(ids) == prepared.manifest.total


def test_the_manifest_describes_every_file_in_the_folder(prepared):
    shards = {shard.name: shard for shard in prepared.manifest.shards}
    assert {path.name for path in prepared.folder.iterdir()} == {*shards, MANIFEST_NAME, REJECTED_NAME}
    found = contents(prepared.folder)
    for name in shards:
        assert shards[name].sha256 == found[name]
        assert shards[name].bytes == (prepared.folder / name).stat().st_size
    assert Manifest.load(prepared.folder) == prepared.manifest


def test_the_class_weights_are_the_balanced_ones_of_the_training_split(prepared):
    labels = load_split(prepared.folder, prepared.manifest, "train").labels
    expected = compute_class_weight("balanced", classes=np.arange(7), y=labels)
    assert [prepared.manifest.class_weights[name] for name in NAMES] == pytest.approx(list(expected))
    assert prepared.manifest.weighting == "inverse_frequency"


def test_the_manifest_says_protocol_taxonomy_and_class_order(prepared):
    manifest = prepared.manifest
    assert (manifest.protocol, manifest.taxonomy) == ("synthetic/carved", "fer2013")
    assert (manifest.size_px, manifest.colour, manifest.encoding) == (48, "gray", "png")
    assert list(manifest.classes) == NAMES


# --- again


def test_the_second_call_is_there_at_once(prepared, synthetic_csv, make_request, run_prepare):
    started = time.monotonic()
    again = run_prepare(make_request(synthetic_csv), prepared.folder.parent)
    assert time.monotonic() - started < 2
    assert again.reused
    assert (again.folder, again.manifest) == (prepared.folder, prepared.manifest)


def test_other_settings_live_in_another_folder(synthetic_csv, tmp_path, make_request):
    folders = {
        folder_of(tmp_path, make_request(synthetic_csv, **changes))
        for changes in (
            {}, {"protocol": "official"}, {"encoding": "raw"}, {"size_px": 32}, {"val_fraction": 0.2},
            {"split_seed": 1}, {"dataset": "fer2013"}, {"duplicates": "drop_all"}, {"weighting": "capped"},
            {"margin": 0.1}, {"align": True}, {"targets": "multi_target"}, {"shards": 3},
        )
    }  # fmt: skip
    assert len(folders) == 13


def copy_of(source: Path, target: Path) -> Path:
    target.mkdir()
    shutil.copyfile(source / "fer2013.csv", target / "fer2013.csv")
    os.utime(target / "fer2013.csv", (1_500_000_000, 1_500_000_000))
    return target


def test_one_core_in_another_place_gives_the_same_bytes(prepared, synthetic_csv, tmp_path, make_request, run_prepare):
    copy = copy_of(synthetic_csv, tmp_path / "copy")
    progress: list[tuple[int, int]] = []
    pages: list[str] = []
    watch = Watch(on_images=lambda done, total: progress.append((done, total)), on_ui=pages.append)
    other = run_prepare(make_request(copy), tmp_path / "out", cores=1, watch=watch)
    assert not other.reused
    assert contents(other.folder) == contents(prepared.folder)
    assert other.manifest.digest == prepared.manifest.digest
    assert other.manifest.request_key != prepared.manifest.request_key
    assert all(0 <= done <= total == 630 for done, total in progress)
    assert [page.startswith("http://") for page in pages] == [True]


def test_what_it_cost_is_told(synthetic_csv, tmp_path, make_request, run_prepare):
    began = time.monotonic()
    made = run_prepare(make_request(synthetic_csv, size_px=32), tmp_path / "out")
    took = time.monotonic() - began
    assert made.kept == 0
    assert made.bytes_in == 630 * 48 * 48
    assert made.bytes_out == sum(file.stat().st_size for file in made.folder.glob("*.tfrecord"))
    assert made.images_per_s > 630 / took
    assert all(seconds > 0 for seconds in made.steps.values())
    assert sum(made.steps.values()) == pytest.approx(made.seconds, rel=0.05)
    assert made.seconds <= took


def test_the_number_of_shards_changes_no_sample_and_no_digest(
    prepared, synthetic_csv, tmp_path, make_request, run_prepare
):
    few = run_prepare(make_request(synthetic_csv, shards=3), tmp_path / "out")
    assert [shard.name for shard in few.manifest.shards] == [
        f"{split}-0000{number}-of-00003.tfrecord" for split in ("train", "validation", "test") for number in range(3)
    ]
    assert len(prepared.manifest.shards) > 9
    assert few.manifest.digest == prepared.manifest.digest
    assert few.manifest.counts == prepared.manifest.counts
    for split in ("train", "validation", "test"):
        first, second = (
            {sample.id: (sample.label, sample.pixels.tobytes(), sample.twin) for sample in
             read_samples(made.folder, made.manifest, split, OPENING)}
            for made in (few, prepared)
        )  # fmt: skip
        assert first == second


def changed_pixel(rows: list[list[str]]) -> None:
    values = rows[10][1].split()
    values[1000] = str((int(values[1000]) + 1) % 256)
    rows[10][1] = " ".join(values)


def changed_label(rows: list[list[str]]) -> None:
    rows[10][0] = str((int(rows[10][0]) + 1) % 7)


@pytest.mark.slow
@pytest.mark.parametrize("change", [changed_pixel, changed_label])
def test_one_changed_pixel_or_label_changes_the_digest(
    prepared, synthetic_csv, tmp_path, make_request, run_prepare, change
):
    copy = copy_of(synthetic_csv, tmp_path / "copy")
    with (copy / "fer2013.csv").open(newline="") as file:
        table = list(csv.reader(file))
    change(table)
    with (copy / "fer2013.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    other = run_prepare(make_request(copy), tmp_path / "out")
    assert other.manifest.digest != prepared.manifest.digest


def test_a_shard_that_was_lost_is_prepared_again(prepared, synthetic_csv, tmp_path, make_request):
    # without Spark: what is not whole is not found
    shutil.copytree(prepared.folder, tmp_path / prepared.folder.name)
    next((tmp_path / prepared.folder.name).glob("*.tfrecord")).unlink()
    assert load_complete(tmp_path / prepared.folder.name, make_request(synthetic_csv).key) is None


def test_a_source_that_cannot_be_read_leaves_nothing(tmp_path, synthetic_csv, make_request, run_prepare):
    copy = copy_of(synthetic_csv, tmp_path / "copy")
    data = (copy / "fer2013.csv").read_bytes()
    (copy / "fer2013.csv").write_bytes(data[: len(data) - 1000])
    with pytest.raises(UserError, match="cut short"):
        run_prepare(make_request(copy), tmp_path / "out")
    assert litter(tmp_path / "out") == []


# --- interrupted


@pytest.mark.slow
def test_a_disk_that_is_full_at_the_last_moment_leaves_nothing(
    synthetic_csv, tmp_path, make_request, run_prepare, monkeypatch
):
    def fail(self: Manifest, place: str) -> None:
        assert list(Path(place).glob("*.tfrecord"))
        raise no_space_error(place)

    monkeypatch.setattr(Manifest, "save", fail)
    with pytest.raises(UserError, match="disk is full"):
        run_prepare(make_request(synthetic_csv), tmp_path / "out")
    assert litter(tmp_path / "out") == []


@pytest.mark.slow
def test_an_interrupt_at_the_last_moment_leaves_shards_to_go_on_with(
    prepared, synthetic_csv, tmp_path, make_request, run_prepare, monkeypatch
):
    def fail(self: Manifest, place: str) -> None:
        raise KeyboardInterrupt

    request = make_request(synthetic_csv)
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "save", fail)
        with pytest.raises(KeyboardInterrupt):
            run_prepare(request, tmp_path / "out")
    assert load_complete(folder_of(tmp_path / "out", request), request.key) is None
    began = time.monotonic()
    again = run_prepare(request, tmp_path / "out")
    assert time.monotonic() - began < 5, "Spark was not needed"
    assert again.kept == len(again.manifest.shards)
    assert (again.bytes_in, again.images_per_s, again.steps["spark start"]) == (0, 0, 0)
    assert contents(again.folder) == contents(prepared.folder)
    assert not (again.folder / WORK).exists()


def limit_of(size: int):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    return limit


@pytest.mark.parametrize(
    ("layout", "settings", "size"),
    [
        # the rows of a shard with their pixels are about 80 kB; those of paths are small, one raw 512 px record 786 kB
        pytest.param("fer2013-csv", {}, 50_000, id="while planning"),
        pytest.param("affectnet-2021", {"size_px": 512, "encoding": "raw"}, 700_000, id="while Spark writes"),
        pytest.param("affectnet-2021", {"encoding": "raw"}, 120_000, id="while Spark starts", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    synthetic_csv, affectnet_folder, tmp_path, start_driver, layout, settings, size
):
    root = synthetic_csv if layout == "fer2013-csv" else affectnet_folder
    driver = start_driver(root, tmp_path / "out", layout, before=limit_of(size), **settings)
    out, errors = driver.process.communicate(timeout=120)
    assert driver.process.returncode == 2, errors[-3000:]
    lines = [line for line in out.splitlines() if not line.startswith(("started", "progress"))]
    assert len(lines) == 1
    assert "disk is full" in lines[0]
    assert litter(tmp_path / "out") == []


def test_two_processes_at_once_prepare_it_once(synthetic_csv, tmp_path, start_driver):
    pair = [start_driver(synthetic_csv, tmp_path / "out") for _ in range(2)]
    results = [driver.result() for driver in pair]
    assert sorted(result["reused"] for result in results) == [False, True]
    assert results[0]["digest"] == results[1]["digest"]
    assert {result["total"] for result in results} == {630}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("after_s", [0.5, 3, 6])
def test_a_process_stopped_at_any_moment_is_followed_by_a_whole_preparation(
    synthetic_csv, tmp_path, prepared, make_request, run_prepare, start_driver, how, after_s
):
    driver = start_driver(synthetic_csv, tmp_path / "out")
    assert driver.process.stdout is not None
    assert driver.process.stdout.readline() == "started\n"
    time.sleep(after_s)
    driver.process.send_signal(how)
    driver.wait()
    request = make_request(synthetic_csv)
    whole = (folder_of(tmp_path / "out", request) / MANIFEST_NAME).exists()
    again = run_prepare(request, tmp_path / "out")
    assert again.reused == whole
    assert contents(again.folder) == contents(prepared.folder)
    assert set(litter(tmp_path / "out")) == {
        f"{again.folder.name}/{name}" for name in (*contents(again.folder), MANIFEST_NAME)
    }


# --- the real faces, where they are


@pytest.mark.slow
def test_two_thousand_real_rows_are_prepared_pixel_for_pixel(real_faces, tmp_path, make_request, run_prepare):
    script = real_faces.with_name("materialize_fer2013.py")
    subprocess.run(
        [sys.executable, str(script), "--layout", "csv", "--out", str(tmp_path / "csv"), "--limit", "2000"], check=True
    )
    # 2,000 of 32,298 rows are a subset, which preparation refuses unless it is accepted
    request = make_request(tmp_path / "csv", dataset="fer2013", accept_alarms=True)
    made = run_prepare(request, tmp_path / "out")
    assert made.manifest.verdict == "subset"
    with (tmp_path / "csv" / "fer2013.csv").open(newline="") as file:
        source = list(csv.DictReader(file))
    samples = list(read_samples(made.folder, made.manifest, "test", OPENING))
    assert Counter(sample.label for sample in samples) == Counter(
        int(row["emotion"]) for row in source if row["Usage"] == "PublicTest"
    )
    for sample in samples:
        pixels = np.array(source[int(sample.id)]["pixels"].split(), np.uint8)
        np.testing.assert_array_equal(sample.pixels.ravel(), pixels)
