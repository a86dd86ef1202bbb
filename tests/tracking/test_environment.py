"""What differs between then and now is named; what git says of a checkout is put together exactly."""

import subprocess
from pathlib import Path

import pytest

from ferlab.tracking.code_state import code_state, commands_to, tree_of
from ferlab.tracking.environment import Environment, compare, differing, overlaid, packages_of
from ferlab.tracking.machine import machine_tags

TAGS = {
    "git.commit": "a" * 40,
    "git.dirty": "false",
    "code.sha256": "c" * 64,
    "lock.sha256": "d" * 64,
    "python": "3.11.7",
    "machine.cpu": "AMD EPYC",
    "machine.vectors": "avx avx2",
    "machine.cores": "2",
    "machine.system": "Linux x86_64 glibc 2.36",
    "machine.settings": "none",
    "backend": "tensorflow",
    "device": "cpu",
    "devices": "1",
    "precision": "float32",
    "dataset.digest": "e" * 64,
}
FILES = {"src/ferlab/training/fit.py": "1" * 40, "README.md": "2" * 40}
THEN = Environment(TAGS, FILES, {"keras": "3.15.0", "numpy": "2.1.0"}, {"seed": "0"})


def with_tag(key: str, value: str) -> Environment:
    return Environment({**TAGS, key: value}, FILES, THEN.packages, THEN.settings)


def test_nothing_differs() -> None:
    found = compare(THEN, THEN)
    assert found.same
    assert not found.differing
    assert {row.same for row in found.rows} == {True}


@pytest.mark.parametrize("key", sorted(set(TAGS) - {"git.commit", "git.dirty", "lock.sha256"}))
def test_what_numbers_depend_on_is_named(key: str) -> None:
    found = compare(THEN, with_tag(key, "another"))
    (row,) = found.differing
    assert row.now == "another"
    assert not found.same


@pytest.mark.parametrize("key", ["git.commit", "git.dirty", "lock.sha256"])
def test_another_commit_with_the_same_code_is_the_same(key: str) -> None:
    found = compare(THEN, with_tag(key, "another"))
    assert [row.now for row in found.rows if row.same is False] == ["another"]
    assert found.same


@pytest.mark.parametrize("key", sorted(TAGS))
def test_what_was_not_recorded_is_neither_the_same_nor_another(key: str) -> None:
    old = Environment({k: v for k, v in TAGS.items() if k != key}, None, THEN.packages, THEN.settings)
    found = compare(old, THEN)
    assert [row.then for row in found.rows if row.same is None] == ["not recorded"]
    assert not found.differing


def test_files_tell_of_code_that_was_not_hashed() -> None:
    old = Environment({k: v for k, v in TAGS.items() if k != "code.sha256"}, FILES, THEN.packages, THEN.settings)
    assert compare(old, THEN).same
    changed = {**FILES, "src/ferlab/training/fit.py": "9" * 40, "docs/json.md": "9" * 40}
    found = compare(old, Environment(TAGS, changed, THEN.packages, THEN.settings))
    assert [row.what for row in found.differing] == ["code in src/"]
    assert found.files == ("src/ferlab/training/fit.py", "docs/json.md")


def test_packages_and_settings_are_named_with_both_values() -> None:
    now = Environment(
        TAGS, FILES, {"keras": "3.15.1", "numpy": "2.1.0", "jax": "1.0"}, {"seed": "0", "recipe.ema": "0"}
    )
    found = compare(THEN, now)
    assert found.packages == ("jax: absent then, 1.0 now", "keras: 3.15.0 then, 3.15.1 now")
    assert found.settings == ("recipe.ema: absent then, 0 now",)
    assert {row.what for row in found.differing} == {"packages", "settings"}


def test_an_interrupted_run_that_went_on_with_other_things_is_not_one_of_this_code() -> None:
    went_on = TAGS | {f"resumed.{key}": value for key, value in TAGS.items()}
    same = compare(Environment(went_on, FILES, THEN.packages, THEN.settings, THEN.packages), THEN)
    assert same.same
    assert same.rows[-1].then == "went on with the same"
    other = went_on | {"resumed.code.sha256": "f" * 64, "resumed.python": "3.12.1", "resumed.git.commit": "b" * 40}
    found = compare(Environment(other, FILES, THEN.packages, THEN.settings, {"keras": "3.16.0"}), THEN)
    (row,) = found.differing
    assert row.then == f"went on with other: code in src/ ({'f' * 12}), Python (3.12.1), packages"
    assert not found.same


def test_abbreviated_names_of_content_count_as_whole_ones() -> None:
    assert differing({"a": "1234567"}, {"a": "1234567" + "8" * 33}) == ()
    assert differing({"a": "1234567"}, {"a": "1234568" + "8" * 33}) == ("a",)
    assert differing({"a": "1234567"}, {}) == ("a",)


def test_packages_are_read_line_by_line() -> None:
    assert packages_of("keras==3.15.0\nNumPy==2.1\n\n") == {"keras": "3.15.0", "NumPy": "2.1"}


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *settings, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(params=["", "deep/er"], ids=["alone", "in a larger repository"])
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / request.param
    (folder / "src" / "pkg").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[project]\n")
    (folder / "src" / "pkg" / "one.py").write_text("x = 1\n \n")
    (folder / "src" / "pkg" / "two.py").write_text("y = 1\n")
    (folder / "picture.bin").write_bytes(bytes(range(256)))
    git(tmp_path / "repository", "init", "-q")
    git(tmp_path / "repository", "config", "diff.mnemonicPrefix", "true")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def changed_in_every_way(checkout: Path) -> None:
    (checkout / "src" / "pkg" / "one.py").write_text("x = 2\n \n")
    (checkout / "src" / "pkg" / "two.py").unlink()
    (checkout / "src" / "pkg" / "größe three.py").write_text("z = 1\n")
    (checkout / "picture.bin").write_bytes(bytes(reversed(range(256))))


def test_the_diff_names_every_file_that_differs(checkout: Path) -> None:
    before = code_state(checkout)
    tree = tree_of(checkout, before.commit)
    assert before.diff == ""
    assert tree is not None
    assert set(tree) == {"pyproject.toml", "picture.bin", "src/pkg/one.py", "src/pkg/two.py"}
    changed_in_every_way(checkout)
    after = code_state(checkout)
    assert differing(tree, overlaid(tree, after.diff)) == (
        "src/pkg/größe three.py", "src/pkg/one.py", "src/pkg/two.py", "picture.bin",
    )  # fmt: skip


def test_committed_changes_count_as_the_same_files(checkout: Path) -> None:
    """Then uncommitted, now committed: the commit differs, the code does not."""
    first = code_state(checkout)
    changed_in_every_way(checkout)
    then = code_state(checkout)
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "second")
    now = code_state(checkout)
    before, after = (tree_of(checkout, state.commit) for state in (then, now))
    assert then.commit == first.commit != now.commit
    assert before is not None
    assert after is not None
    assert differing(overlaid(before, then.diff), overlaid(after, now.diff)) == ()


def test_the_commands_bring_the_recorded_code_back(checkout: Path, tmp_path: Path) -> None:
    changed_in_every_way(checkout)
    state = code_state(checkout)
    patch, again = tmp_path / "the diff.patch", tmp_path / "again"
    patch.write_text(state.diff, encoding="utf-8")
    script = " && ".join([*commands_to(checkout, state.commit, patch, again), "pwd"])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    there = Path(done.stdout.splitlines()[-1])
    for file in sorted(path for path in checkout.rglob("*") if path.is_file() and ".git" not in path.parts):
        assert (there / file.relative_to(checkout)).read_bytes() == file.read_bytes()
    assert not (there / "src" / "pkg" / "two.py").exists()
    (last, *_) = reversed(commands_to(checkout, state.commit, None, again))
    assert last.startswith("cd ")


def test_a_commit_that_is_not_there_has_no_tree(checkout: Path, tmp_path: Path) -> None:
    assert tree_of(checkout, "0" * 40) is None
    assert tree_of(tmp_path, "HEAD") is None
    assert tree_of(checkout, "") is None


def test_a_machine_is_described_by_what_kernels_are_chosen_by(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 avx fma\n\nmodel name\t: Other\n")
    tags = machine_tags({"TF_ENABLE_ONEDNN_OPTS": "0", "HOME": "/x"}, file)
    assert tags["machine.cpu"] == "Some CPU"
    assert tags["machine.vectors"] == "avx avx2 fma"
    assert tags["machine.settings"] == "TF_ENABLE_ONEDNN_OPTS=0"
    assert int(tags["machine.cores"]) >= 1
    elsewhere = machine_tags({}, tmp_path / "absent")
    assert elsewhere["machine.vectors"] == "none known"
    assert elsewhere["machine.cpu"]
