"""The report of an evaluation opens offline, says everything, and cannot be broken by names."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest

from ferlab.evaluation.comparison import Contestant, Costs, compare
from ferlab.evaluation.document import Document, render
from ferlab.evaluation.evaluation_report import document_of
from ferlab.evaluation.findings import Augmented, Findings, find
from ferlab.evaluation.soft import vote_scores

from .conftest import Page, guessed

SUBJECT = guessed("a" * 32, 0, 0.7)


def contestant(name: str, run_id: str, seed: int, right: float) -> Contestant:
    return Contestant(run_id, name, run_id, guessed(run_id, seed, right), Costs(1000, 1.5, 100, 2.0, 0.5, 1))


@pytest.fixture(scope="module")
def findings() -> Findings:
    twins = np.arange(len(SUBJECT)) < 40
    votes = np.random.default_rng(1).integers(1, 5, SUBJECT.probabilities.shape)
    subject = replace(SUBJECT, twins=twins, votes=votes)
    augmented = Augmented("ten_crop", 10, guessed("a" * 32, 5, 0.9))
    return find(subject, 200, 0, guessed("a" * 32, 7, 0.7, split="validation"), augmented)


@pytest.fixture(scope="module")
def document(findings: Findings) -> Document:
    subject = contestant("ensemble", "a" * 32, 0, 0.7)
    others = [contestant("seq1", "b" * 32, 1, 0.5), contestant("seq2", "c" * 32, 2, 0.65)]
    return document_of(
        subject,
        findings,
        compare([subject, *others], subject.id, 200, 0),
        {"protocol": "fer2013/carved", "times opened": "3"},
    )


@pytest.fixture(scope="module")
def html(document: Document) -> str:
    return render(document)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def section(document: Document, title: str) -> str:
    (chosen,) = [one for one in document.sections if one.title == title]
    return Page(render(Document("t", [replace(chosen, pictures=())]))).text


def test_it_loads_nothing_from_anywhere(html: str, page: Page) -> None:
    bare = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    for outside in ("http:", "https:", "url(", "@import"):
        assert outside not in bare
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe")
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))


def test_every_link_leads_to_a_section_and_every_tag_is_closed(page: Page) -> None:
    ids = {attributes.get("id") for _, attributes in page.tags}
    links = [str(attributes["href"]) for tag, attributes in page.tags if tag == "a"]
    assert len(links) == len(set(links)) >= 8
    assert {link[1:] for link in links} <= ids
    assert page.open == []


def test_figures_are_png_images_with_their_names(document: Document, page: Page) -> None:
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == [picture.title for picture in document.pictures]
    for image in images:
        assert base64.b64decode(str(image["src"]).split(",", 1)[1]).startswith(b"\x89PNG")


def test_headline_and_classes_stand_there_with_their_numbers(findings: Findings, page: Page) -> None:
    for name, item in findings.scores.estimates.items():
        value = f"{item.value:.3f}" if name == "mcc" else f"{100 * item.value:.1f} %"
        assert value in page.text
    for row in findings.scores.per_class:
        precise, found = (f"[{low:.3f}, {high:.3f}]" for low, high in (row.precision_interval, row.recall_interval))
        cells = f"{row.name} {row.precision:.3f} {precise} {row.recall:.3f} {found} {row.f1:.3f} ["
        assert cells in page.text


def test_twins_and_augmentation_stand_apart_with_their_own_numbers(document: Document, findings: Findings) -> None:
    text = section(document, "Result")
    for scores in (findings.twin_free, findings.augmented_scores):
        assert f"{100 * scores.estimates['accuracy'].value:.1f} [" in text
    assert "260" in text, "images without twins"
    assert "10 views (ten_crop)" in text


def test_members_are_ranked_and_tested_against_the_subject(document: Document) -> None:
    text = section(document, "Runs side by side")
    assert text.index("ensemble") < text.index("seq2") < text.index("seq1")
    assert "baseline" in text
    assert "p (Holm)" in text


def test_calibration_shows_both_and_the_temperature(document: Document, findings: Findings) -> None:
    text = section(document, "Calibration")
    assert f"with temperature {findings.calibration.temperature:.2f}" in text
    for scores in (findings.probability, findings.calibration.after):
        assert f"{scores.ece:.4f}" in text
    for estimates in (findings.estimates, findings.calibrated_estimates):
        assert set(estimates) == {"auc_ovr", "nll", "brier", "ece", "aurc"}
        for item in estimates.values():
            assert f"{item.value:.4f} [{item.low:.4f}, {item.high:.4f}]" in text
    assert findings.calibration.before == findings.probability


def test_scores_against_the_votes_stand_there_with_their_intervals(document: Document, findings: Findings) -> None:
    text = section(document, "Against the votes")
    expected = vote_scores(SUBJECT.probabilities, findings.predictions.votes)
    for name, item in findings.soft.items():
        assert item.value == pytest.approx(expected[name].mean())
        assert item.low <= item.value < item.high
        assert f"{name.replace('_', ' ')} {item.value:.4f} [{item.low:.4f}, {item.high:.4f}]" in text
    assert set(findings.soft) == set(expected)


def test_labels_without_probabilities_have_no_curves_and_no_calibration() -> None:
    hard = replace(SUBJECT, probabilities=np.eye(7)[SUBJECT.predicted], hard=True)
    document = document_of(contestant("x", "x" * 32, 0, 0.7), find(hard, 100, 0), (), {})
    titles = [one.title for one in document.sections]
    assert "Calibration" not in titles
    assert "ROC and precision-recall" not in titles
    assert "Confusion matrix" in titles


def test_metrics_of_all_parts_have_names_of_their_own(findings: Findings) -> None:
    flat = list(findings.flat())
    assert len(dict(flat)) == len(flat)
    names = dict(flat)
    expected = {"test_accuracy", "test_twin_free_accuracy", "test_tta_accuracy", "test_nll", "test_calibrated_ece"}
    assert expected | {
        "test_temperature",
        "test_accepted_share",
        "test_mcc_low",
        "test_calibrated_nll_high",
        "test_accepted_share_low",
    } <= set(names)
    assert all(np.isfinite(value) for value in names.values())


def test_names_with_markup_are_shown_not_run(findings: Findings) -> None:
    hostile = contestant("<script>alert(1)</script>", "x" * 32, 3, 0.4)
    blocks = compare([hostile, contestant("<img src=x>", "y" * 32, 4, 0.5)], hostile.id, 100, 0)
    html = render(document_of(hostile, findings, blocks, {"<i>": "&<>"}))
    assert "<script" not in html
    assert "<img src=x>" not in html
    assert "<i>" not in html
    assert Page(html).open == []


def test_wording_is_of_perceived_expressions(page: Page) -> None:
    assert "as perceived by the annotators" in page.text
    assert "not assessed" in page.text
