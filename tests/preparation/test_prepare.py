"""Preparation end to end with real Spark: right, repeatable, and complete or absent whatever happens."""

import csv
import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from ferlab.errors import UserError
from ferlab.manifest import MANIFEST_NAME, Manifest, load_complete
from ferlab.preparation.prepare import Prepared, prepared_folder
from ferlab.records.load import load_split, read_samples
from ferlab.sealed import Opening

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


def shards_of(prepared: Prepared) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in prepared.folder.glob("*.tfrecord")}


def litter(prepared_root: Path) -> list[str]:
    """What is left below the root beside lock files."""
    return sorted(
        path.relative_to(prepared_root).as_posix()
        for path in prepared_root.rglob("*")
        if path.is_file() and ".locks" not in path.parts and not path.name.endswith(".lock")
    )


# --- what is in it


def test_the_counts_are_those_of_the_csv(prepared, rows):
    counts, per_usage = prepared.manifest.counts, Counter((usage, NAMES[label]) for label, _, usage in rows)
    for name in NAMES:
        assert counts["test"][name] == per_usage["PublicTest", name]
        assert counts["train"][name] + counts["validation"][name] == per_usage["Training", name]
        assert counts["validation"][name] == round(0.1 * per_usage["Training", name])
    assert sum(prepared.manifest.excluded.values()) == sum(1 for *_, usage in rows if usage == "PrivateTest")
    assert prepared.manifest.total == len(rows) - 70
    assert prepared.manifest.rejected == ()


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
    assert {path.name for path in prepared.folder.iterdir()} == {*shards, MANIFEST_NAME}
    for name, checksum in shards_of(prepared).items():
        assert shards[name].sha256 == checksum
        assert shards[name].bytes == (prepared.folder / name).stat().st_size
    assert Manifest.load(prepared.folder) == prepared.manifest


def test_the_class_weights_are_the_balanced_ones_of_the_training_split(prepared):
    labels = load_split(prepared.folder, prepared.manifest, "train").labels
    expected = compute_class_weight("balanced", classes=np.arange(7), y=labels)
    assert [prepared.manifest.class_weights[name] for name in NAMES] == pytest.approx(list(expected))
    assert prepared.manifest.weighting == "inverse_frequency"


def test_tensorflow_finds_the_weight_of_its_class_in_every_record(prepared, tf):
    weights = np.float32([prepared.manifest.class_weights[name] for name in prepared.manifest.classes])
    assert len(set(weights.tolist())) > 4
    spec = {"label": tf.io.FixedLenFeature([], tf.int64), "weight": tf.io.FixedLenFeature([], tf.float32)}
    files = [str(prepared.folder / shard.name) for shard in prepared.manifest.shards]
    seen = 0
    for batch in tf.data.TFRecordDataset(files).batch(100).map(lambda m: tf.io.parse_example(m, spec)):
        np.testing.assert_array_equal(batch["weight"], weights[batch["label"].numpy()])
        seen += len(batch["label"])
    assert seen == prepared.manifest.total


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
        prepared_folder(tmp_path, make_request(synthetic_csv, **changes))
        for changes in (
            {}, {"protocol": "official"}, {"encoding": "raw"}, {"size_px": 32}, {"val_fraction": 0.2},
            {"split_seed": 1}, {"dataset": "fer2013"}, {"duplicates": "drop_all"}, {"weighting": "capped"},
            {"margin": 0.1}, {"align": True}, {"targets": "multi_target"},
        )
    }  # fmt: skip
    assert len(folders) == 12


def copy_of(source: Path, target: Path) -> Path:
    target.mkdir()
    shutil.copyfile(source / "fer2013.csv", target / "fer2013.csv")
    os.utime(target / "fer2013.csv", (1_500_000_000, 1_500_000_000))
    return target


def test_one_core_in_another_place_gives_the_same_bytes(prepared, synthetic_csv, tmp_path, make_request, run_prepare):
    copy = copy_of(synthetic_csv, tmp_path / "copy")
    progress: list[tuple[int, int]] = []
    other = run_prepare(
        make_request(copy), tmp_path / "out", cores=1, on_progress=lambda done, total: progress.append((done, total))
    )
    assert not other.reused
    assert shards_of(other) == shards_of(prepared)
    assert other.manifest.digest == prepared.manifest.digest
    assert other.manifest.request_key != prepared.manifest.request_key
    assert other.images_per_s > 0
    assert all(0 <= done <= total for done, total in progress)


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


# --- broken images


@pytest.fixture
def damaged(affectnet_folder, tmp_path) -> Path:
    """The 120 colour faces, three of train_set damaged and one annotation gone."""
    root = tmp_path / "damaged"
    shutil.copytree(affectnet_folder, root)
    images = root / "train_set" / "images"
    data = (images / "1.jpg").read_bytes()
    (images / "1.jpg").write_bytes(data[: len(data) // 2])
    (images / "2.jpg").write_bytes(b"")
    (images / "3.jpg").write_text("<html>404</html>")
    (root / "train_set" / "annotations" / "4_exp.npy").unlink()
    return root


def test_unusable_images_are_counted_with_reasons_and_the_rest_is_prepared(
    damaged, tmp_path, make_request, run_prepare
):
    made = run_prepare(make_request(damaged, "affectnet-2021"), tmp_path / "out", max_rejected=0.05)
    reasons = {item.id.removeprefix("train_set/images/"): item.reason for item in made.manifest.rejected}
    assert reasons == {
        "1.jpg": "cut JPEG file",
        "2.jpg": "empty file",
        "3.jpg": "not a JPEG, PNG, BMP or TIFF image",
        "4.jpg": "annotation 4_exp.npy is missing",
    }
    assert made.manifest.total == 116
    assert sum(sum(row.values()) for row in made.manifest.counts.values()) == 116
    arrays = load_split(made.folder, made.manifest, "train")
    assert arrays.images.shape[1:] == (224, 224, 3)
    assert not {f"train_set/images/{i}.jpg" for i in range(1, 5)} & set(arrays.ids)


def test_too_many_unusable_images_stop_with_one_line_and_leave_nothing(damaged, tmp_path, make_request, run_prepare):
    with pytest.raises(UserError) as caught:
        run_prepare(make_request(damaged, "affectnet-2021"), tmp_path / "out", max_rejected=0.03)
    text = str(caught.value)
    assert "\n" not in text
    for words in ("4 of 120", "cut JPEG file", "preparation.max_rejected", str(damaged)):
        assert words in text
    assert litter(tmp_path / "out") == []
    assert not prepared_folder(tmp_path / "out", make_request(damaged, "affectnet-2021")).exists()


def test_a_source_that_cannot_be_read_leaves_nothing(tmp_path, synthetic_csv, make_request, run_prepare):
    copy = copy_of(synthetic_csv, tmp_path / "copy")
    data = (copy / "fer2013.csv").read_bytes()
    (copy / "fer2013.csv").write_bytes(data[: len(data) - 1000])
    with pytest.raises(UserError, match="cut short"):
        run_prepare(make_request(copy), tmp_path / "out")
    assert litter(tmp_path / "out") == []


# --- interrupted


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")], ids=repr)
def test_a_failure_at_the_last_moment_leaves_nothing_that_counts_as_prepared(
    synthetic_csv, tmp_path, make_request, run_prepare, monkeypatch, error
):
    def fail(self: Manifest, folder: Path) -> None:
        assert list(folder.glob("*.tfrecord"))
        raise error

    monkeypatch.setattr(Manifest, "save", fail)
    with pytest.raises(type(error)):
        run_prepare(make_request(synthetic_csv), tmp_path / "out")
    assert litter(tmp_path / "out") == []


PREPARE = """
import json, sys
from pathlib import Path
from ferlab.datasets.catalog import FAMILIES, LAYOUTS, taxonomies_of
from ferlab.datasets.listing import Reading
from ferlab.datasets.splits import Split
from ferlab.emotions import TAXONOMIES
from ferlab.errors import UserError
from ferlab.preparation.prepare import Request, prepare
from ferlab.preparation.shards import ImageSettings
from ferlab.preparation.spark import Resources
root, out, name, *settings = sys.argv[1:]
family = FAMILIES[LAYOUTS[name]]
size_px, colour, encoding = settings
request = Request(
    "synthetic", family, family.locate(Path(root), Path(out) / "unpacked"),
    Reading(TAXONOMIES[taxonomies_of("synthetic", name)[0]]), Split("carved", 0.1, 0),
    ImageSettings(int(size_px), colour, encoding)
)
print("started", flush=True)
try:
    made = prepare(request, Path(out), Resources(1, 1), 0.01, {}, lambda done, total: print("progress", flush=True))
except UserError as error:
    print(error)
    sys.exit(2)
print(json.dumps({"reused": made.reused, "digest": made.manifest.digest, "total": made.manifest.total}))
"""


def start(root: Path, out: Path, layout: str, *settings: Any, **options: Any) -> subprocess.Popen:
    command = [sys.executable, "-c", PREPARE, str(root), str(out), layout, *map(str, settings)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def limit_of(size: int):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    return limit


@pytest.mark.parametrize(
    ("layout", "settings", "size"),
    [
        # the listing with its pixels is 1.6 MB; the listing of paths is small and one raw 512 px record 786 kB
        pytest.param("fer2013-csv", (48, "gray", "png"), 200_000, id="while listing"),
        pytest.param("affectnet-2021", (512, "rgb", "raw"), 700_000, id="while Spark writes"),
        pytest.param("affectnet-2021", (224, "rgb", "raw"), 120_000, id="while Spark starts", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(synthetic_csv, affectnet_folder, tmp_path, layout, settings, size):
    root = synthetic_csv if layout == "fer2013-csv" else affectnet_folder
    process = start(root, tmp_path / "out", layout, *settings, preexec_fn=limit_of(size))
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors[-3000:]
    lines = [line for line in out.splitlines() if line not in ("started", "progress")]
    assert len(lines) == 1
    assert "disk is full" in lines[0]
    assert litter(tmp_path / "out") == []


def test_two_processes_at_once_prepare_it_once(synthetic_csv, tmp_path):
    pair = [start(synthetic_csv, tmp_path / "out", "fer2013-csv", 48, "gray", "png") for _ in range(2)]
    results = []
    for process in pair:
        out, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors[-3000:]
        results.append(json.loads(out.splitlines()[-1]))
    assert sorted(result["reused"] for result in results) == [False, True]
    assert results[0]["digest"] == results[1]["digest"]
    assert {result["total"] for result in results} == {630}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("after_s", [0.5, 3, 6])
def test_a_process_stopped_at_any_moment_is_followed_by_a_whole_preparation(
    synthetic_csv, tmp_path, prepared, make_request, run_prepare, how, after_s
):
    process = start(synthetic_csv, tmp_path / "out", "fer2013-csv", 48, "gray", "png")
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(after_s)
    process.send_signal(how)
    process.communicate(timeout=60)
    request = make_request(synthetic_csv)
    whole = (prepared_folder(tmp_path / "out", request) / MANIFEST_NAME).exists()
    if how == signal.SIGINT and not whole:
        assert litter(tmp_path / "out") == []
    again = run_prepare(request, tmp_path / "out")
    assert again.reused == whole
    assert shards_of(again) == shards_of(prepared)
    assert set(litter(tmp_path / "out")) == {
        f"{again.folder.name}/{name}" for name in (*shards_of(again), MANIFEST_NAME)
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
