"""A folder in a bucket: whole, once, nothing overwritten."""

import os

import pytest

from ferlab.errors import UserError
from ferlab.storage import places
from ferlab.storage.objects import put_new, read_bytes, write_bytes
from ferlab.storage.upload import upload


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "faces"
    for number in range(30):
        file = root / f"train/{number % 3}/{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([number]) * (number + 1))
    (root / ".DS_Store").write_bytes(b"x")
    return root


def test_a_folder_arrives_whole_and_the_second_time_nothing_is_sent(bucket, folder):
    seen = []
    done = upload(folder, f"{bucket}/raw", lambda *progress: seen.append(progress))
    assert (done.sent, done.there, done.total_bytes) == (30, 0, sum(range(1, 31)))
    assert seen[-1] == (30, 30)
    assert places.sizes_below(f"{bucket}/raw") == {f"train/{n % 3}/{n}.jpg": n + 1 for n in range(30)}
    assert upload(folder, f"{bucket}/raw", lambda *_: None).sent == 0


def test_an_interrupted_upload_goes_on(bucket, folder):
    def stop(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload(folder, f"{bucket}/raw", stop)
    begun = len(places.names_below(f"{bucket}/raw"))
    done = upload(folder, f"{bucket}/raw", lambda *_: None)
    assert done.there == begun
    assert done.sent + done.there == 30


def test_other_content_of_the_same_name_is_neither_overwritten_nor_passed_over(bucket, folder):
    upload(folder, f"{bucket}/raw", lambda *_: None)
    write_bytes(f"{bucket}/raw/train/1/4.jpg", b"other")  # as long as it was
    with pytest.raises(UserError, match=r"train/1/4\.jpg: holds something else"):
        upload(folder, f"{bucket}/raw", lambda *_: None)
    assert read_bytes(f"{bucket}/raw/train/1/4.jpg") == b"other"


def test_an_object_that_appears_meanwhile_is_not_overwritten(bucket, folder):
    write_bytes(f"{bucket}/x", b"first")
    assert not put_new(folder / "train/0/0.jpg", f"{bucket}/x")
    assert read_bytes(f"{bucket}/x") == b"first"


def test_a_record_spares_reading_the_files_and_believes_the_bucket_alone(bucket, folder, tmp_path, monkeypatch):
    records = tmp_path / "records"
    upload(folder, f"{bucket}/raw", lambda *_: None, records)
    with monkeypatch.context() as patch:
        patch.setattr("ferlab.storage.upload.crc32c_of", lambda file: pytest.fail(f"{file} was read"))
        assert upload(folder, f"{bucket}/raw", lambda *_: None, records).there == 30
    os.utime(folder / "train/0/0.jpg", (1, 1))
    assert upload(folder, f"{bucket}/raw", lambda *_: None, records).there == 30
    places.remove(f"{bucket}/raw/train/0")
    assert upload(folder, f"{bucket}/raw", lambda *_: None, records).sent == 10


def test_a_record_does_not_hide_that_an_object_was_exchanged_for_one_of_its_size(bucket, folder, tmp_path):
    upload(folder, f"{bucket}/raw", lambda *_: None, tmp_path / "records")
    places.remove(f"{bucket}/raw/train/0/3.jpg")
    write_bytes(f"{bucket}/raw/train/0/3.jpg", bytes([9]) * 4)
    with pytest.raises(UserError, match=r"train/0/3\.jpg: holds something else"):
        upload(folder, f"{bucket}/raw", lambda *_: None, tmp_path / "records")


def test_objects_that_only_show_a_folder_in_the_console_are_no_images(bucket, folder):
    write_bytes(f"{bucket}/raw/", b"")
    write_bytes(f"{bucket}/raw/train/", b"")
    assert upload(folder, f"{bucket}/raw", lambda *_: None).sent == 30


def test_images_that_were_removed_here_are_not_prepared_there(bucket, folder):
    upload(folder, f"{bucket}/raw", lambda *_: None)
    (folder / "train/1/4.jpg").unlink()
    with pytest.raises(UserError, match=r"holds 1 objects that .* does not have \(train/1/4\.jpg\)"):
        upload(folder, f"{bucket}/raw", lambda *_: None)


def test_a_single_file_and_nothing_at_all(bucket, folder, tmp_path):
    assert upload(folder / "train/0/3.jpg", f"{bucket}/one.jpg", lambda *_: None).sent == 1
    assert read_bytes(f"{bucket}/one.jpg") == bytes([3]) * 4
    with pytest.raises(UserError, match="nothing to upload"):
        upload(tmp_path / "absent", f"{bucket}/raw", lambda *_: None)


def test_folders_that_are_links_are_brought_too_and_a_circle_ends(bucket, folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.jpg").write_bytes(b"x")
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "circle").symlink_to(folder)
    upload(folder, f"{bucket}/raw", lambda done, total: None)
    names = places.names_below(f"{bucket}/raw")
    assert "linked/x.jpg" in names
    assert not [name for name in names if "circle" in name]
