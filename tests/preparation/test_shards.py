"""The executors' work without Spark: TensorFlow reads the shards, and only ids decide where a sample goes."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from ferlab.datasets.listing import row_table
from ferlab.imaging.codec import ImageError, decode, resize
from ferlab.preparation.shards import ImageSettings, ShardJob, assign_shards, make_record
from ferlab.records.example import decode_example
from ferlab.records.tfrecord import read_records
from ferlab.samples import SAMPLE_SCHEMA, SPLITS

GRAY, RGB = ImageSettings(48, "gray", "png"), ImageSettings(224, "rgb", "jpeg")


WEIGHTS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)
"""One for each class, all of them different and exact in float32."""

Listed = Callable[..., pa.Table]


@pytest.fixture
def listed(make_request) -> Listed:
    return lambda layout, root: make_request(root, layout).listing(cores=1).table


def job(settings: ImageSettings, folder: Path | str = "", exact_px: int | None = None) -> ShardJob:
    return ShardJob(str(folder), settings, WEIGHTS, exact_px)


def write(table: pa.Table, settings: ImageSettings, folder: Path, rows_per_batch: int = 256) -> list[dict[str, Any]]:
    folder.mkdir()
    arranged = assign_shards(table, settings.size_px).sort_by([("shard", "ascending"), ("order", "ascending")])
    written = job(settings, folder)(iter(arranged.to_batches(rows_per_batch)))
    return [row for batch in written for row in batch.to_pylist()]


def samples(ids: Sequence[str], splits: Sequence[str], labels: Sequence[int], **columns: Any) -> pa.Table:
    """A sample table of rows that were split by hand; nothing is known of twins."""
    table = row_table(ids, splits, labels, **columns).rename_columns({"part": "split"})
    return table.append_column("twin", pa.nulls(len(ids), pa.bool_())).select(SAMPLE_SCHEMA.names)


def parse(tf: Any, files: list[Path]) -> dict[str, Any]:
    """All records of the files, read and parsed by TensorFlow alone: id to features."""
    spec = {
        "id": tf.io.FixedLenFeature([], tf.string),
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "pixel_digest": tf.io.FixedLenFeature([], tf.string),
        "weight": tf.io.FixedLenFeature([], tf.float32),
        "twin": tf.io.FixedLenFeature([], tf.int64, -1),
        "votes": tf.io.VarLenFeature(tf.int64),
        "valence": tf.io.FixedLenFeature([], tf.float32, -2.0),
        "arousal": tf.io.FixedLenFeature([], tf.float32, -2.0),
    }
    data = tf.data.TFRecordDataset([str(file) for file in files]).batch(64).map(lambda m: tf.io.parse_example(m, spec))
    found = {}
    for batch in data:
        dense = batch | {"votes": tf.sparse.to_dense(batch["votes"], -1)}
        columns = {name: values.numpy() for name, values in dense.items()}
        for i, sample_id in enumerate(columns["id"]):
            found[sample_id.decode()] = {name: values[i] for name, values in columns.items()}
    return found


def pixels_by_tensorflow(tf: Any, image: bytes, settings: ImageSettings) -> np.ndarray:
    channels = 1 if settings.colour == "gray" else 3
    shape = (settings.size_px, settings.size_px, channels)
    if settings.encoding == "raw":
        return tf.reshape(tf.io.decode_raw(image, tf.uint8), shape).numpy()
    if settings.encoding == "float32":
        return tf.reshape(tf.io.decode_raw(image, tf.float32), shape).numpy() * 255
    return tf.io.decode_image(image, channels=channels).numpy()


@pytest.mark.parametrize("encoding", ["png", "jpeg", "raw", "float32"])
def test_tensorflow_reads_every_encoding_of_gray_faces(listed, synthetic_csv, tmp_path, tf, encoding):
    settings = ImageSettings(48, "gray", encoding)
    table = listed("fer2013-csv", synthetic_csv).slice(0, 60)
    write(table, settings, tmp_path / "shards")
    found = parse(tf, sorted((tmp_path / "shards").iterdir()))
    assert set(found) == set(table["id"].to_pylist())
    for row in table.to_pylist():
        source = np.frombuffer(row["pixels"], np.uint8).reshape(48, 48, 1)
        stored = pixels_by_tensorflow(tf, found[row["id"]]["image"], settings)
        assert stored.shape == (48, 48, 1)
        assert np.abs(stored - source.astype(float)).mean() < (4 if encoding == "jpeg" else 1e-3)
        assert found[row["id"]]["label"] == row["label"]
        assert found[row["id"]]["weight"] == WEIGHTS[row["label"]]
        assert found[row["id"]]["valence"] == -2


@pytest.mark.parametrize("encoding", ["png", "jpeg", "raw", "float32"])
@pytest.mark.parametrize(("size_px", "colour"), [(224, "rgb"), (64, "gray")])
def test_tensorflow_reads_every_encoding_of_colour_faces(
    listed, affectnet_folder, tmp_path, tf, encoding, size_px, colour
):
    settings = ImageSettings(size_px, colour, encoding)
    table = listed("affectnet-2021", affectnet_folder).slice(0, 12)
    write(table, settings, tmp_path / "shards")
    found = parse(tf, sorted((tmp_path / "shards").iterdir()))
    for row in table.to_pylist():
        source = resize(decode(Path(row["path"]).read_bytes(), colour), size_px).reshape(size_px, size_px, -1)
        stored = pixels_by_tensorflow(tf, found[row["id"]]["image"], settings)
        assert stored.shape == source.shape
        assert np.abs(stored - source.astype(float)).mean() < (4 if encoding == "jpeg" else 1e-3)
        assert found[row["id"]]["valence"] == pytest.approx(row["valence"])
        assert found[row["id"]]["arousal"] == pytest.approx(row["arousal"])


def test_votes_and_twins_are_stored_where_they_are_known(tmp_path, tf):
    pixels = [bytes(np.full(16, i, np.uint8)) for i in range(4)]
    votes = [[3, 0, 7], [10, 0, 0], [1, 1, 8], [0, 9, 0]]
    known = samples([*"abcd"], ["train", "validation", "test", "test"], [2, 0, 2, 1], pixels=pixels, votes=votes)
    twins = pa.array([False, True, False, True])
    known = known.set_column(known.column_names.index("twin"), "twin", twins)
    results = write(known, ImageSettings(16, "gray", "raw"), tmp_path / "known")
    assert {split: sum(row["twins"] for row in results if row["split"] == split) for split in SPLITS} == {
        "train": 0, "validation": 1, "test": 1
    }  # fmt: skip
    found = parse(tf, sorted((tmp_path / "known").iterdir()))
    assert {name: row["votes"].tolist() for name, row in found.items()} == dict(zip("abcd", votes, strict=True))
    assert {name: row["twin"] for name, row in found.items()} == {"a": 0, "b": 1, "c": 0, "d": 1}
    unknown = samples(["a"], ["test"], [2], pixels=pixels[:1])
    assert [row["twins"] for row in write(unknown, ImageSettings(16, "gray", "raw"), tmp_path / "unknown")] == [0]
    (row,) = parse(tf, list((tmp_path / "unknown").iterdir())).values()
    assert (row["twin"], row["votes"].size) == (-1, 0)


def test_the_result_rows_describe_the_files(listed, synthetic_csv, tmp_path):
    table = listed("fer2013-csv", synthetic_csv)
    results = write(table, GRAY, tmp_path / "shards")
    assert sorted(row["name"] for row in results) == sorted(path.name for path in (tmp_path / "shards").iterdir())
    labels: dict[tuple[str, int], int] = {}
    for row in results:
        data = (tmp_path / "shards" / row["name"]).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert row["samples"] == sum(1 for _ in read_records(tmp_path / "shards" / row["name"]))
        assert row["name"].startswith(row["split"] + "-")
        for label, count in json.loads(row["counts"]).items():
            labels[row["split"], int(label)] = labels.get((row["split"], int(label)), 0) + count
    assert labels == {key: n for key, n in _counted(table).items() if n}


def _counted(table: pa.Table) -> dict[tuple[str, int], int]:
    counted = table.group_by(["split", "label"]).aggregate([("id", "count")]).to_pylist()
    return {(row["split"], row["label"]): row["id_count"] for row in counted}


def test_the_bytes_do_not_depend_on_batches_or_on_the_order_of_the_listing(listed, synthetic_csv, tmp_path):
    table = listed("fer2013-csv", synthetic_csv).slice(0, 300)
    shuffled = table.take(np.random.default_rng(0).permutation(300))
    first = write(table, GRAY, tmp_path / "a", 256)
    second = write(shuffled, GRAY, tmp_path / "b", 7)
    for row, other in zip(first, second, strict=True):
        assert {k: v for k, v in row.items() if not k.endswith("_s")} == {
            k: v for k, v in other.items() if not k.endswith("_s")
        }


def changed_pixel(row: dict[str, Any]) -> None:
    row["pixels"] = bytes([row["pixels"][0] ^ 1]) + row["pixels"][1:]


def changed_label(row: dict[str, Any]) -> None:
    row["label"] = (row["label"] + 1) % 7


@pytest.mark.parametrize("change", [changed_pixel, changed_label])
@pytest.mark.parametrize("encoding", ["png", "jpeg"])
def test_one_changed_pixel_or_label_changes_the_content_digest_of_its_shard(
    listed, synthetic_csv, tmp_path, change, encoding
):
    table = listed("fer2013-csv", synthetic_csv).slice(0, 40)
    rows = table.to_pylist()
    change(rows[17])
    settings = ImageSettings(24, "gray", encoding)
    before = {row["name"]: row["content"] for row in write(table, settings, tmp_path / "a")}
    changed = write(pa.Table.from_pylist(rows, schema=table.schema), settings, tmp_path / "b")
    different = [row["name"] for row in changed if before[row["name"]] != row["content"]]
    assigned = assign_shards(table, 24).to_pylist()
    assert different == [assigned[17]["shard"]]


def test_records_inside_a_shard_are_not_in_the_order_of_the_source(listed, synthetic_csv, tmp_path, tf):
    table = listed("fer2013-csv", synthetic_csv)
    write(table, GRAY, tmp_path / "shards")
    for file in sorted((tmp_path / "shards").glob("train-*")):
        ids = [int(sample_id) for sample_id in parse(tf, [file])]
        assert ids != sorted(ids) or len(ids) < 4


def test_unusable_images_are_set_aside_and_the_rest_is_written(listed, affectnet_folder, tmp_path, tf):
    table = listed("affectnet-2021", affectnet_folder).slice(0, 20)
    rows = table.to_pylist()
    cut, text, empty = (tmp_path / name for name in ("cut.jpg", "text.jpg", "empty.jpg"))
    data = Path(rows[0]["path"]).read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    text.write_text("not a face")
    empty.write_bytes(b"")
    for row, path in zip(rows, (cut, text, empty, tmp_path / "absent.jpg"), strict=False):
        row["path"] = str(path)
    results = write(pa.Table.from_pylist(rows, schema=table.schema), RGB, tmp_path / "shards")
    rejected = dict(pair for row in results for pair in json.loads(row["rejected"]))
    assert set(rejected) == {row["id"] for row in rows[:4]}
    assert rejected[rows[0]["id"]] == "cut JPEG file"
    assert rejected[rows[1]["id"]] == "not a JPEG, PNG, BMP or TIFF image"
    assert rejected[rows[2]["id"]] == "empty file"
    assert "No such file" in rejected[rows[3]["id"]]
    assert set(parse(tf, sorted((tmp_path / "shards").iterdir()))) == {row["id"] for row in rows[4:]}


def test_the_pixel_digest_is_of_the_source_so_twins_are_found_whatever_their_encoding(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (30, 30), dtype=np.uint8)
    digests = set()
    for level in (0, 9):
        path = tmp_path / f"{level}.png"
        path.write_bytes(cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes())
        row = samples([path.name], ["train"], [0], path=[str(path)]).to_pylist()[0]
        digests |= {make_record(row, job(settings))[1] for settings in (GRAY, ImageSettings(16, "gray", "jpeg"))}
    assert len(digests) == 1
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 2


@pytest.mark.parametrize(
    "pixels",
    [
        b"\0" * 2303,
        b"",
    ],
)
def test_pixels_that_are_no_square_image_are_an_image_error(pixels):
    row = samples(["0"], ["train"], [0], pixels=[pixels]).to_pylist()[0]
    with pytest.raises(ImageError):
        make_record(row, job(ImageSettings(24, "gray", "png")))


@pytest.mark.parametrize(("width", "height"), [(28, 28), (47, 48), (48, 49), (96, 96)])
def test_an_image_of_another_size_than_the_release_is_refused_with_both_sizes(tmp_path, width, height):
    picture = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    (tmp_path / "face.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    row = samples(["face"], ["train"], [0], path=[str(tmp_path / "face.png")]).to_pylist()[0]
    with pytest.raises(ImageError, match=f"^{width}x{height} px, the release has 48x48 px$"):
        make_record(row, job(GRAY, exact_px=48))
    assert make_record(row, job(GRAY))  # where sizes vary it is resized


def test_an_image_of_the_size_of_the_release_may_be_stored_in_another_one():
    row = samples(["0"], ["train"], [0], pixels=[bytes(48 * 48)]).to_pylist()[0]
    stored = decode_example(make_record(row, job(ImageSettings(24, "gray", "raw"), exact_px=48))[0])
    assert stored["image"] == bytes(24 * 24)


def test_every_split_has_at_least_sixteen_shards_worth_of_names():
    ids = [str(i) for i in range(2000)]
    table = assign_shards(samples(ids, ["train"] * 1000 + ["test"] * 1000, [0] * 2000), 48)
    names = set(table["shard"].to_pylist())
    assert names == {f"{split}-{i:05d}-of-00016.tfrecord" for split in ("train", "test") for i in range(16)}


def test_large_splits_get_more_shards_of_even_size():
    count = 70_000
    table = assign_shards(samples([str(i) for i in range(count)], ["train"] * count, np.zeros(count, int)), 224)
    sizes = [row["id_count"] for row in table.group_by("shard").aggregate([("id", "count")]).to_pylist()]
    assert len(sizes) == 18
    assert sum(sizes) == count
    assert max(sizes) < 1.1 * count / 18


def test_the_place_of_a_sample_depends_on_its_id_alone():
    ids = [str(i) for i in range(500)]
    table = samples(ids, ["train"] * 500, [0] * 500)
    placed = assign_shards(table, 48)
    shuffled = assign_shards(table.take(np.random.default_rng(0).permutation(500)), 48)

    def places(assigned: pa.Table) -> dict[str, tuple[str, int]]:
        return {row["id"]: (row["shard"], row["order"]) for row in assigned.to_pylist()}

    assert places(placed) == places(shuffled)
    orders = placed.sort_by([("shard", "ascending"), ("order", "ascending")])["order"].to_pylist()
    assert orders == sorted(orders)
