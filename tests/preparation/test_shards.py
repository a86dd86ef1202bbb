"""The executors' work without Spark: TensorFlow reads the shards, and only ids decide where a sample goes."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from ferlab.datasets.listing import row_table
from ferlab.errors import UserError
from ferlab.imaging.codec import ImageError, decode, encode, resize
from ferlab.imaging.face import ImageSettings
from ferlab.preparation import shards
from ferlab.preparation.plan import (
    ROWS_PER_TASK,
    SHARD_BYTES,
    Layout,
    Plan,
    Task,
    images_per_shard,
    lay_out,
    write_rows,
)
from ferlab.preparation.shards import (
    CONTENT_BITS,
    carry_out_task,
    load_outcomes,
    make_record,
    make_shard,
    picture,
    source_bytes,
)
from ferlab.records.example import decode_example
from ferlab.records.tfrecord import read_records
from ferlab.samples import SAMPLE_SCHEMA, SPLITS, pixel_digest

GRAY, RGB = ImageSettings(48, "gray", "png"), ImageSettings(224, "rgb", "jpeg")

Listed = Callable[..., pa.Table]


@pytest.fixture
def listed(make_request) -> Listed:
    return lambda layout, root: make_request(root, layout).listing(cores=1).table


def plan_for(settings: ImageSettings, exact_px: int | None = None) -> Plan:
    return Plan("", settings, (), (), exact_px)


def stored(row: dict[str, Any], plan: Plan) -> np.ndarray:
    """The pixels that a record of this row gets."""
    return picture(row, source_bytes(row), plan)


def write(
    table: pa.Table, settings: ImageSettings, folder: Path, shards_per_split: int | None = None
) -> list[dict[str, Any]]:
    """Every shard of the table, made one after the other; the outcomes that lie beside them."""
    layout = lay_out(table, settings, shards_per_split)
    plan = Plan(str(folder), settings, layout.names, layout.sizes)
    write_rows(plan, layout.rows(table))
    tasks = tuple(plan.tasks(()))
    made = [carry_out_task(plan, task) for task in tasks]
    outcomes = [asdict(outcome) for outcome in load_outcomes(plan, plan.names) if outcome]
    samples_of = {row["name"]: row["samples"] for row in outcomes}
    assert made == [sum(samples_of[name] for name in task.names) for task in tasks]
    return outcomes


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tfrecord"))


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
    found = parse(tf, files_in(tmp_path / "shards"))
    assert set(found) == set(table["id"].to_pylist())
    for row in table.to_pylist():
        source = np.frombuffer(row["pixels"], np.uint8).reshape(48, 48, 1)
        stored = pixels_by_tensorflow(tf, found[row["id"]]["image"], settings)
        assert stored.shape == (48, 48, 1)
        assert np.abs(stored - source.astype(float)).mean() < (4 if encoding == "jpeg" else 1e-3)
        assert found[row["id"]]["label"] == row["label"]
        assert found[row["id"]]["valence"] == -2


@pytest.mark.parametrize("encoding", ["png", "jpeg", "raw", "float32"])
@pytest.mark.parametrize(("size_px", "colour"), [(224, "rgb"), (120, "gray")])
def test_tensorflow_reads_every_encoding_of_colour_faces(
    listed, affectnet_folder, tmp_path, tf, encoding, size_px, colour
):
    settings = ImageSettings(size_px, colour, encoding)
    table = listed("affectnet-2021", affectnet_folder).slice(0, 12)
    write(table, settings, tmp_path / "shards")
    found = parse(tf, files_in(tmp_path / "shards"))
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
    found = parse(tf, files_in(tmp_path / "known"))
    assert {name: row["votes"].tolist() for name, row in found.items()} == dict(zip("abcd", votes, strict=True))
    assert {name: row["twin"] for name, row in found.items()} == {"a": 0, "b": 1, "c": 0, "d": 1}
    unknown = samples(["a"], ["test"], [2], pixels=pixels[:1])
    assert [row["twins"] for row in write(unknown, ImageSettings(16, "gray", "raw"), tmp_path / "unknown")] == [0]
    (row,) = parse(tf, files_in(tmp_path / "unknown")).values()
    assert (row["twin"], row["votes"].size) == (-1, 0)


def test_the_result_rows_describe_the_files(listed, synthetic_csv, tmp_path):
    table = listed("fer2013-csv", synthetic_csv)
    results = write(table, GRAY, tmp_path / "shards")
    assert sorted(row["name"] for row in results) == [path.name for path in files_in(tmp_path / "shards")]
    labels: dict[tuple[str, int], int] = {}
    for row in results:
        data = (tmp_path / "shards" / row["name"]).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert row["samples"] == sum(1 for _ in read_records(tmp_path / "shards" / row["name"]))
        assert row["name"].startswith(row["split"] + "-")
        for label, count in row["counts"].items():
            labels[row["split"], label] = labels.get((row["split"], label), 0) + count
    assert labels == {key: n for key, n in _counted(table).items() if n}


def _counted(table: pa.Table) -> dict[tuple[str, int], int]:
    counted = table.group_by(["split", "label"]).aggregate([("id", "count")]).to_pylist()
    return {(row["split"], row["label"]): row["id_count"] for row in counted}


def untimed(outcome: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in outcome.items() if not name.endswith("_s")}


def test_the_bytes_do_not_depend_on_batches_or_on_the_order_of_the_listing(
    listed, synthetic_csv, tmp_path, monkeypatch
):
    table = listed("fer2013-csv", synthetic_csv).slice(0, 300)
    shuffled = table.take(np.random.default_rng(0).permutation(300))
    first = write(table, GRAY, tmp_path / "a")
    monkeypatch.setattr(shards, "ROWS_PER_READ", 7)
    second = write(shuffled, GRAY, tmp_path / "b")
    assert [untimed(row) for row in first] == [untimed(row) for row in second]
    for row in first:
        assert (tmp_path / "a" / row["name"]).read_bytes() == (tmp_path / "b" / row["name"]).read_bytes()


def test_the_number_of_shards_changes_neither_samples_nor_content(listed, synthetic_csv, tmp_path):
    table = listed("fer2013-csv", synthetic_csv)
    many, few = (write(table, GRAY, tmp_path / str(count), count) for count in (None, 3))
    assert {row["name"] for row in few} == {f"{split}-0000{i}-of-00003.tfrecord" for split in SPLITS for i in range(3)}
    assert len(many) > len(few)
    stored_in = []
    for count, rows in ((None, many), (3, few)):
        files = [tmp_path / str(count) / row["name"] for row in rows]
        stored_in.append(sorted((file.name.split("-")[0], record) for file in files for record in read_records(file)))
    assert stored_in[0] == stored_in[1]
    contents = [sum(row["content"] for row in rows) % 2**CONTENT_BITS for rows in (many, few)]
    assert contents[0] == contents[1]
    assert len({row["content"] for row in (*many, *few)}) == len(many) + len(few), "no shard is empty or twice there"


def test_an_outcome_that_is_damaged_or_absent_does_not_count(listed, synthetic_csv, tmp_path):
    folder = tmp_path / "shards"
    names = [row["name"] for row in write(listed("fer2013-csv", synthetic_csv).slice(0, 90), GRAY, folder)]
    plan = Plan(str(folder), GRAY, tuple(names), (1,) * len(names))
    whole = load_outcomes(plan, names)
    damages = [b"", b"{", b"[]", b'{"content": "zz"}', b"\xff\xfe"]
    for name, damage in zip(names, damages, strict=False):
        Path(plan.outcome(name)).write_bytes(damage)
    Path(plan.outcome(names[len(damages)])).unlink()
    found = load_outcomes(plan, names)
    broken = len(damages) + 1
    assert found[:broken] == [None] * broken
    assert found[broken:] == whole[broken:]
    assert None not in whole


def changed_pixel(row: dict[str, Any]) -> None:
    row["pixels"] = bytes([row["pixels"][0] ^ 16]) + row["pixels"][1:]


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
    (shard,) = [name for name, held in lay_out(table, settings).rows(table) if rows[17]["id"] in held["id"].to_pylist()]
    assert different == [shard]


def test_a_record_holds_all_there_is_to_know_and_no_weight():
    row = samples(["0"], ["train"], [3], pixels=[bytes(48 * 48)], votes=[[0, 2, 0, 8, 0, 0, 0]]).to_pylist()[0]
    row |= {"twin": False, "valence": -0.5, "arousal": 0.25}
    found = decode_example(make_record(row, b"encoded", b"digest"))
    assert found == {
        "id": b"0", "image": b"encoded", "label": [3], "pixel_digest": b"digest", "votes": [0, 2, 0, 8, 0, 0, 0],
        "twin": [0], "valence": [-0.5], "arousal": [0.25],
    }  # fmt: skip


def test_records_inside_a_shard_are_not_in_the_order_of_the_source(listed, synthetic_csv, tmp_path, tf):
    table = listed("fer2013-csv", synthetic_csv)
    write(table, GRAY, tmp_path / "shards")
    for file in sorted((tmp_path / "shards").glob("train-*.tfrecord")):
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
    rejected = dict(pair for row in results for pair in row["rejected"])
    assert set(rejected) == {row["id"] for row in rows[:4]}
    assert rejected[rows[0]["id"]] == "cut JPEG file"
    assert rejected[rows[1]["id"]] == "not a JPEG, PNG, BMP or TIFF image"
    assert rejected[rows[2]["id"]] == "empty file"
    assert "No such file" in rejected[rows[3]["id"]]
    assert set(parse(tf, files_in(tmp_path / "shards"))) == {row["id"] for row in rows[4:]}


def digests_of(paths: Sequence[Path], settings: ImageSettings, folder: Path, tf: Any) -> set[bytes]:
    """The digests in the records of some image files."""
    names = [path.name for path in paths]
    table = samples(names, ["train"] * len(paths), [0] * len(paths), path=[str(path) for path in paths])
    write(table, settings, folder)
    return {row["pixel_digest"] for row in parse(tf, files_in(folder)).values()}


def test_the_digest_is_of_what_is_stored_so_twins_are_found_whatever_the_encoding_of_their_files(tmp_path, tf):
    source = np.random.default_rng(0).integers(0, 256, (30, 30), dtype=np.uint8)
    paths = [tmp_path / f"{level}.png" for level in (0, 9)]
    for level, path in zip((0, 9), paths, strict=True):
        path.write_bytes(cv2.imencode(".png", source, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes())
    assert len({path.read_bytes() for path in paths}) == 2
    for size_px in (16, 48):
        for encoding in ("png", "jpeg", "raw", "float32"):
            settings = ImageSettings(size_px, "gray", encoding)
            found = digests_of(paths, settings, tmp_path / f"{size_px}-{encoding}", tf)
            pixels = resize(source, size_px)
            if encoding == "jpeg":  # lossy: what is stored is the file
                pixels = np.frombuffer(encode(pixels, "jpeg"), np.uint8)
            assert found == {pixel_digest(pixels)}


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
        stored(row, plan_for(ImageSettings(24, "gray", "png")))


@pytest.mark.parametrize(("width", "height"), [(28, 28), (47, 48), (48, 49), (96, 96)])
def test_an_image_of_another_size_than_the_release_is_refused_with_both_sizes(tmp_path, width, height):
    picture = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    (tmp_path / "face.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    row = samples(["face"], ["train"], [0], path=[str(tmp_path / "face.png")]).to_pylist()[0]
    with pytest.raises(ImageError, match=f"^{width}x{height} px, the release has 48x48 px$"):
        stored(row, plan_for(GRAY, exact_px=48))
    assert stored(row, plan_for(GRAY)).shape == (48, 48)  # where sizes vary it is resized


def test_an_image_of_the_size_of_the_release_may_be_stored_in_another_one():
    row = samples(["0"], ["train"], [0], pixels=[bytes(48 * 48)]).to_pylist()[0]
    found = stored(row, plan_for(ImageSettings(24, "gray", "raw"), exact_px=48))
    np.testing.assert_array_equal(found, np.zeros((24, 24), np.uint8))


# --- which sample goes where


def placed(
    table: pa.Table, settings: ImageSettings = GRAY, shards_per_split: int | None = None
) -> dict[str, list[str]]:
    """Shard to the ids in it, in order."""
    layout = lay_out(table, settings, shards_per_split)
    return {name: rows["id"].to_pylist() for name, rows in layout.rows(table)}


def test_every_split_has_at_least_sixteen_shards_worth_of_names():
    ids = [str(i) for i in range(2000)]
    names = set(placed(samples(ids, ["train"] * 1000 + ["test"] * 1000, [0] * 2000)))
    assert names == {f"{split}-{i:05d}-of-00016.tfrecord" for split in ("train", "test") for i in range(16)}


@pytest.mark.parametrize("encoding", ["jpeg", "raw", "float32"])
def test_large_splits_get_more_shards_of_even_size_and_none_above_200_mb(encoding):
    settings, count = ImageSettings(224, "rgb", encoding), 100_000
    layout = lay_out(samples([str(i) for i in range(count)], ["train"] * count, np.zeros(count, int)), settings)
    expected = max(16, -(-count // images_per_shard(settings)))
    assert len(layout.names) == expected
    assert layout.names[-1] == f"train-{expected - 1:05d}-of-{expected:05d}.tfrecord"
    assert sum(layout.sizes) == count
    assert max(layout.sizes) < (1.1 if encoding != "float32" else 1.3) * count / expected
    bytes_per_image = {"raw": 3 * 224 * 224, "float32": 12 * 224 * 224}.get(encoding)
    if bytes_per_image:
        assert 0.5 * SHARD_BYTES < bytes_per_image * count / expected < 200e6


def test_a_raw_image_takes_what_the_number_of_shards_expects():
    settings = ImageSettings(32, "rgb", "float32")
    pixels = np.zeros((32, 32, 3), np.uint8)
    assert images_per_shard(settings) == SHARD_BYTES // len(encode(pixels, "float32"))


def test_all_rows_go_somewhere_and_only_to_their_own_split():
    ids, rng = [f"face {i}" for i in range(3000)], np.random.default_rng(1)
    splits = rng.choice(SPLITS, 3000, p=[0.9, 0.09, 0.01]).tolist()
    split_of = dict(zip(ids, splits, strict=True))
    found = placed(samples(ids, splits, [0] * 3000), shards_per_split=40)
    assert sorted(name for held in found.values() for name in held) == sorted(ids)
    for name, held in found.items():
        assert held, "a shard of nothing is none"
        assert {split_of[sample_id] for sample_id in held} == {name.split("-")[0]}


def test_the_place_of_a_sample_depends_on_its_id_alone():
    ids = [str(i) for i in range(500)]
    table = samples(ids, ["train"] * 500, [0] * 500)
    shuffled = table.take(np.random.default_rng(0).permutation(500))
    assert placed(table) == placed(shuffled)
    assert [sample_id for held in placed(table).values() for sample_id in held] != ids
    # of a larger data set that has as many shards, the same samples stand in the same shards
    more = samples([*ids, *(f"more {i}" for i in range(500))], ["train"] * 1000, [0] * 1000)
    for name, held in placed(table).items():
        assert [sample_id for sample_id in placed(more)[name] if not sample_id.startswith("more")] == held


def test_a_plan_is_what_was_saved(tmp_path):
    plan = Plan(str(tmp_path / "place"), ImageSettings(224, "rgb", "jpeg", 0.1, True), ("a", "b"), (3, 4), 48)
    with pytest.raises(FileNotFoundError):
        Plan.load(plan.folder)
    plan.save()
    assert Plan.load(plan.folder) == plan


def test_small_shards_share_a_task_and_finished_ones_are_left_out():
    whole = ROWS_PER_TASK
    plan = Plan("", GRAY, ("a", "b", "c", "d", "e"), (20 * whole, 10, 20, whole - 30, whole))
    assert plan.tasks(()) == [Task(("a",), 20 * whole), Task(("b", "c", "d"), whole), Task(("e",), whole)]
    assert plan.tasks({"a", "c"}) == [Task(("b", "d"), whole - 20), Task(("e",), whole)]
    assert plan.tasks({*plan.names}) == []


def test_few_samples_are_many_tasks_all_the_same():
    plan = Plan("", GRAY, tuple(f"{i}" for i in range(48)), (4,) * 48)
    assert [task.rows for task in plan.tasks(())] == [12] * 16


def test_a_task_that_is_tried_again_goes_on_after_its_finished_shards(listed, synthetic_csv, tmp_path):
    folder = tmp_path / "shards"
    write(listed("fer2013-csv", synthetic_csv).slice(0, 60), GRAY, folder, 1)
    names = tuple(path.name for path in files_in(folder))
    plan = Plan(str(folder), GRAY, names, (20,) * len(names))
    kept, lost = Path(plan.shard(names[0])), Path(plan.outcome(names[1]))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    assert carry_out_task(plan, Task(names, 60)) == 60
    assert lost.exists()
    assert kept.stat().st_mtime_ns == before


def test_a_worker_with_another_opencv_refuses(tmp_path):
    plan = replace(plan_for(GRAY), folder=str(tmp_path), opencv="1.0")
    with pytest.raises(UserError, match=r"OpenCV .*1\.0"):
        make_shard(plan, "train-00000-of-00001.tfrecord")


def rows_of(paths: Sequence[Path]) -> pa.Table:
    names = [f"{i}" for i in range(len(paths))]
    return samples(names, ["train"] * len(paths), [0] * len(paths), path=[str(path) for path in paths])


def test_images_that_are_absent_are_counted_as_unread(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (row,) = write(rows_of([tmp_path / "absent.png", tmp_path / "text.png"]), GRAY, tmp_path / "shards", 1)
    assert (row["unread"], len(row["rejected"])) == (1, 2)


def test_a_shard_of_which_no_image_can_be_read_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"all 30 images of its shard cannot be read \(No such file"):
        write(rows_of([tmp_path / f"{i}.png" for i in range(30)]), GRAY, tmp_path / "shards", 1)


def test_a_disk_that_fails_is_an_error_and_no_rejection(tmp_path):
    # reading process memory at address 0 is an input/output error
    with pytest.raises(UserError, match=r"cannot be read \(Input/output error\)"):
        write(rows_of([Path("/proc/self/mem")]), GRAY, tmp_path / "shards", 1)


def test_more_than_two_gigabytes_of_text_are_laid_out(tmp_path):
    long = "x" * 100_000_000
    table = samples(["a"], ["train"], [0], path=[long])
    many = pa.concat_tables([table] * 22)
    layout = Layout(("one", "two"), np.arange(22), np.array([0, 1, 2]))
    assert [rows["path"][0].as_py() == long for _, rows in layout.rows(many)] == [True, True]
