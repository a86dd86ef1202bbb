"""The report opens offline, says everything once, and cannot be broken by names."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from ferlab.evaluation.figures import confusion_figure, ranking_figure
from ferlab.evaluation.metrics import score
from ferlab.evaluation.report import AugmentedScores, Report, ReportedRun, render
from ferlab.predictions import Predictions

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def reported(name: str, seed: int, right: float) -> ReportedRun:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, 300)
    guess = np.where(rng.random(300) < right, labels, rng.integers(0, 7, 300))
    predictions = Predictions(
        tuple(map(str, range(300))), labels, np.eye(7)[guess], CLASSES, "test", "fer2013", "fer2013/official", "d", name
    )
    return ReportedRun(name, name * 4, score(predictions, 200, 0))


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every opened tag is closed in order."""

    VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def report() -> Report:
    subject, other = reported("ensemble", 0, 0.7), reported("seq1", 1, 0.5)
    figures = {
        "Confusion matrix": confusion_figure(subject.scores, "t"),
        "Runs side by side": ranking_figure([("a", subject.scores.estimates["accuracy"])], "accuracy", "t"),
    }
    return Report("Ensemble on fer2013", {"protocol": "fer2013/official", "digest": "abc"}, subject, [other], figures)


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return Page(render(report))


def test_report_loads_nothing_from_anywhere(report: Report, page: Page) -> None:
    html = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", render(report))
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe")
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")


def test_every_link_leads_to_a_section(page: Page) -> None:
    ids = {attributes.get("id") for _, attributes in page.tags}
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links
    assert {link[1:] for link in links} <= ids


def test_every_tag_is_closed(page: Page) -> None:
    assert page.open == []


def test_figures_are_png_images_with_their_names(report: Report, page: Page) -> None:
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == list(report.figures)
    for image in images:
        assert base64.b64decode(image["src"].split(",", 1)[1]).startswith(b"\x89PNG")


def test_every_class_stands_there_with_its_numbers(report: Report, page: Page) -> None:
    for row in report.subject.scores.per_class:
        line = f"{row.name} {row.precision:.3f} {row.recall:.3f} {row.f1:.3f} {row.support}"
        assert line in page.text


def test_headline_figures_stand_there_with_intervals(report: Report, page: Page) -> None:
    for estimate in report.subject.scores.estimates.values():
        assert f"{100 * estimate.value:.1f} %" in page.text
        assert f"95 % interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f}" in page.text
    assert "fer2013/official" in page.text


def test_best_run_stands_first(report: Report, page: Page) -> None:
    ranking = page.text.split("Runs side by side", 2)[2].split("By category")[0]
    assert ranking.index("ensemble") < ranking.index("seq1")


def test_augmented_scores_stand_below_the_plain_ones_under_their_name(report: Report) -> None:
    better = reported("x", 2, 0.9).scores
    page = Page(render(replace(report, augmented=AugmentedScores("shifts", 10, better))))
    assert page.open == []
    section = page.text.split("With test-time augmentation (shifts)")[1].split("Runs side by side")[0]
    plain, augmented = section.split("1 (the result above)")[1].split("10 views")
    for name, estimate in report.subject.scores.estimates.items():
        assert f"{100 * estimate.value:.1f}" in plain
        assert f"{100 * better.estimates[name].value:.1f}" in augmented
    cards = page.text.split("With test-time augmentation")[0]
    assert f"{100 * report.subject.scores.estimates['accuracy'].value:.1f} %" in cards
    assert f"{100 * better.estimates['accuracy'].value:.1f} %" not in cards


def test_a_report_without_augmentation_does_not_speak_of_it(page: Page) -> None:
    assert "augmentation" not in page.text


def test_names_with_markup_are_shown_not_run(report: Report) -> None:
    hostile = ReportedRun("<script>alert(1)</script>", "x", report.subject.scores)
    html = render(Report("<b>title", {"<i>": "&<>"}, hostile, [hostile], {}))
    assert "<script" not in html
    assert "<b>title" not in html
    assert Page(html).open == []


def test_wording_is_of_perceived_expressions(page: Page) -> None:
    assert "as perceived by the annotators" in page.text
    assert "not assessed" in page.text
