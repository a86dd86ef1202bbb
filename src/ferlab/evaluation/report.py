"""The HTML report: one file that opens offline, figures inside."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferlab.evaluation.metrics import Scores

TEMPLATE = "report.html.j2"
TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
}


@dataclass(frozen=True)
class ReportedRun:
    """One run in the report's ranking."""

    name: str
    run_id: str
    scores: Scores


@dataclass(frozen=True)
class AugmentedScores:
    """What the run evaluated scores when ``n_views`` views of every image are combined; ``name`` says which."""

    name: str
    n_views: int
    scores: Scores


@dataclass(frozen=True)
class Report:
    """What the report is about: facts for its head, the run evaluated, other runs beside it, figures by title.

    ``augmented``: its scores with test-time augmentation, shown apart from the plain ones.
    """

    title: str
    facts: Mapping[str, str]
    subject: ReportedRun
    others: Sequence[ReportedRun]
    figures: Mapping[str, Any]
    augmented: AugmentedScores | None = None


def render(report: Report) -> str:
    """The report as self-contained HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    ranking = sorted(
        [report.subject, *report.others], key=lambda run: run.scores.estimates["accuracy"].value, reverse=True
    )
    return environment.get_template(TEMPLATE).render(
        report=report,
        titles=TITLES,
        ranking=ranking,
        figures={title: _data_uri(figure) for title, figure in report.figures.items()},
    )


def _data_uri(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
