"""What Spark says is told in one line, and how far it is in images."""

import pytest

from ferlab.errors import UserError
from ferlab.imaging.face import ImageSettings
from ferlab.preparation.plan import Plan
from ferlab.preparation.spark import ADVICE, Resources, Watch, _plain_errors

PLAN = Plan("/prepared/it", ImageSettings(48, "gray", "png"), (), ())


def told(text: str, master: str | None = None) -> str:
    """The one line that a person reads when Spark fails with ``text``."""
    with pytest.raises(UserError) as caught, _plain_errors(PLAN, Resources(1, 1, master)):
        raise OSError(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("words", "advice"), ADVICE.items(), ids=ADVICE.keys())
def test_a_known_failure_comes_with_advice(words, advice):
    assert told(f"Py4JJavaError: long\ntext {words} more\n  at org.apache", "spark://host:7077") == (
        f"spark://host:7077: {advice}"
    )


def test_the_line_of_a_worker_is_handed_on():
    text = "Traceback\n  ferlab.errors.UserError: a.jpg: cannot be read (Input/output error). Run it again.\n at"
    assert told(text) == "a.jpg: cannot be read (Input/output error). Run it again."


def test_a_full_disk_names_the_place():
    assert told("java.io.IOException: No space left on device").startswith("/prepared/it: the disk is full")


def test_an_unknown_failure_keeps_its_text():
    with pytest.raises(RuntimeError, match="something new"), _plain_errors(PLAN, Resources(1, 1)):
        raise OSError("something new")


def test_progress_ends_with_all_images_and_never_goes_back(synthetic_csv, tmp_path, make_request, run_prepare):
    seen: list[tuple[int, int]] = []
    pages: list[str] = []
    watch = Watch(on_images=lambda done, total: seen.append((done, total)), on_ui=pages.append)
    made = run_prepare(make_request(synthetic_csv), tmp_path / "out", watch=watch)
    assert {total for _, total in seen} <= {made.manifest.total}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(pages) == 1
    assert pages[0].startswith("http://127.0.0.1:")
