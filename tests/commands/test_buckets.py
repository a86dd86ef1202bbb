"""Commands take ``gs://`` where they take a folder."""

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from ferlab.commands.launch import Context
from ferlab.commands.opening import open_dataset
from ferlab.commands.synth import run as synth
from ferlab.config.nodes import Compute, Dataset
from ferlab.config.schema import SynthConfig
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.errors import UserError
from ferlab.storage import places
from ferlab.storage.objects import put, put_all, write_bytes


@pytest.fixture
def context(tmp_path) -> Context:
    return Context("verify", tmp_path / "home", {})


def dataset(name: str, root: str, votes: str | None = None) -> Dataset:
    return Dataset(name=name, protocol="carved", root=root, votes=votes)


def drawn(layout: str, tmp_path: Path, url: str) -> Path:
    folder = tmp_path / layout
    write_synthetic(layout, folder, 70, 3, size_px=16)
    put_all((folder / name, f"{url}/{name}") for name in places.names_below(str(folder)))
    return folder


def test_images_of_affectnet_stay_in_the_bucket(bucket, context, tmp_path):
    folder = drawn("affectnet-folder", tmp_path, f"{bucket}/faces")
    opened = open_dataset(dataset("affectnet8", f"{bucket}/faces/"), context)
    assert opened.source.layout == "affectnet-folder"
    assert opened.source.url == opened.source.name == f"{bucket}/faces"
    rows = opened.family.read(opened.source, opened.reading).table
    assert rows.num_rows > 40
    below = [path.removeprefix(f"{bucket}/faces/") for path in rows["path"].to_pylist()]
    assert all((folder / name).is_file() for name in below)
    assert set(below) <= set(places.sizes_below(opened.source.url))
    assert not list(context.home.rglob("*.jpg"))


def test_a_copy_one_folder_below_the_address_has_its_own(bucket, context, tmp_path):
    drawn("affectnet-manual", tmp_path, f"{bucket}/faces/AffectNet")
    source = open_dataset(dataset("affectnet7", f"{bucket}/faces"), context).source
    assert source.url == f"{bucket}/faces/AffectNet"
    assert source.root.name == "AffectNet"


def test_small_images_are_brought_because_their_pixels_are_compared(bucket, context, tmp_path):
    folder = drawn("fer2013-folder", tmp_path, f"{bucket}/fer")
    opened = open_dataset(dataset("fer2013", f"{bucket}/fer"), context)
    rows = opened.family.read(opened.source, opened.reading).table
    names = [Path(path).relative_to(opened.source.root).as_posix() for path in rows["path"].to_pylist()]
    assert len(names) == 70
    assert all((opened.source.root / name).read_bytes() == (folder / name).read_bytes() for name in names)


@pytest.mark.parametrize("address", ["fer", "fer/fer2013.csv"])
def test_a_table_is_found_by_its_folder_or_its_own_address(bucket, context, tmp_path, address):
    drawn("fer2013-csv", tmp_path, f"{bucket}/fer")
    opened = open_dataset(dataset("fer2013", f"{bucket}/{address}"), context)
    assert opened.source.url == f"{bucket}/fer"
    assert opened.family.read(opened.source, opened.reading).table.num_rows == 70


@pytest.mark.parametrize("address", ["packed", "packed/fer2013.tar.gz"])
def test_an_archive_is_brought_and_unpacked(bucket, context, tmp_path, address):
    write_synthetic("fer2013-csv", tmp_path / "fer", 70, 3, size_px=16)
    with tarfile.open(tmp_path / "fer2013.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "fer" / "fer2013.csv", "fer2013.csv")
    put(tmp_path / "fer2013.tar.gz", f"{bucket}/packed/fer2013.tar.gz")
    opened = open_dataset(dataset("fer2013", f"{bucket}/{address}"), context)
    assert opened.source.name == f"{bucket}/packed/fer2013.tar.gz"
    elsewhere = open_dataset(dataset("fer2013", f"{bucket}/{address}"), replace(context, home=tmp_path / "elsewhere"))
    assert elsewhere.source.signature() == opened.source.signature()
    assert opened.family.read(opened.source, opened.reading).table.num_rows == 70


def test_votes_come_from_a_bucket_too(bucket, context, tmp_path):
    folder = drawn("ferplus", tmp_path, f"{bucket}/fer")
    votes = (folder / "fer2013new.csv").read_bytes()
    write_bytes(f"{bucket}/elsewhere/votes.csv", votes)
    for root in (f"{bucket}/fer", str(folder)):
        opened = open_dataset(dataset("ferplus", root, f"{bucket}/elsewhere/votes.csv"), context)
        assert opened.source.votes.name == "votes.csv"
        assert opened.source.votes.read_bytes() == votes
    assert open_dataset(dataset("ferplus", f"{bucket}/fer"), context).source.votes.name == "fer2013new.csv"


def test_an_error_names_the_address_and_not_the_mirror(bucket, context):
    write_bytes(f"{bucket}/fer/readme.txt", b"nothing of use")
    with pytest.raises(UserError, match=rf"^dataset.root={bucket}/fer: no fer2013.csv") as caught:
        open_dataset(dataset("fer2013", f"{bucket}/fer"), context)
    assert str(context.home) not in str(caught.value)


# --- synth


@pytest.fixture
def config(bucket) -> SynthConfig:
    return SynthConfig("fer2013-folder", f"{bucket}/drawn/", 70, 4, 16, Compute("local", cores=1))


def test_faces_are_drawn_into_a_bucket(config, bucket, context, tmp_path, capsys):
    result = synth(config, context)
    write_synthetic("fer2013-folder", tmp_path / "expected", 70, 4, size_px=16)
    names = places.names_below(str(tmp_path / "expected"))
    assert result["folder"] == f"{bucket}/drawn"
    assert places.names_below(f"{bucket}/drawn") == names
    assert all(
        places.read_bytes(f"{bucket}/drawn/{name}") == (tmp_path / "expected" / name).read_bytes() for name in names
    )
    assert f"drew 70 synthetic faces: {bucket}/drawn" in capsys.readouterr().out


def test_a_prefix_that_holds_objects_is_not_drawn_into(config, bucket, context):
    write_bytes(f"{bucket}/drawn/x", b"mine")
    with pytest.raises(UserError, match=rf"^out={bucket}/drawn: already holds objects"):
        synth(config, context)
    assert places.names_below(bucket) == ["drawn/x"]


def test_a_bucket_that_does_not_exist_is_told_before_anything_is_drawn(config, bucket, context):
    with pytest.raises(UserError, match="there is no bucket gs://no-such-bucket"):
        synth(replace(config, out="gs://no-such-bucket/x", count=10**9), context)
