"""Tables for other programs, read back by readers that are not ours."""

import csv
import io
import shutil
import subprocess

import pytest

from ferlab.evaluation.document import Table
from ferlab.evaluation.metrics import Estimate
from ferlab.evaluation.significance import PairedDifference, Spread
from ferlab.evaluation.table_formats import as_csv, as_latex, as_markdown, escaped, with_deviation, with_interval

TABLE = Table(
    ["run", "50 % & more", "a|b"],
    [["seq1_s0", "66.3 ± 0.4", "{x}"], ["a*b`c", "< .0001", "#1\\2"]],
    "Caption with 100 %",
    marked=frozenset({1}),
)


def test_shares_are_in_per_cent_and_a_correlation_is_as_it_is() -> None:
    estimate = Estimate(0.5714, 0.5, 0.6449)
    assert with_interval("accuracy", estimate) == "57.1 [50.0, 64.5]"
    assert with_interval("mcc", estimate) == with_interval("twin_free_mcc", estimate) == "0.571 [0.500, 0.645]"
    gap = PairedDifference(0.0123, -0.001, 0.0251, 0.04)
    assert with_interval("macro_f1", gap, "+") == "+1.2 [-0.1, +2.5]"
    assert with_interval("mcc", gap, "+") == "+0.012 [-0.001, +0.025]"
    assert with_deviation("accuracy", Spread(0.5714, 0.0123, 3)) == "57.1 ± 1.2"
    assert with_deviation("mcc", Spread(0.5714, 0.0123, 3)) == "0.571 ± 0.012"
    assert with_deviation("mcc", Spread(0.5714, None, 1)) == "0.571"


def test_markdown_has_a_cell_for_a_cell_and_shows_marks_as_text() -> None:
    lines = as_markdown(TABLE).strip().split("\n")
    assert lines[0] == "Caption with 100 %"
    rows = [line.replace("\\|", "").count("|") for line in lines[2:]]
    assert rows == [4, 4, 4, 4]
    assert lines[3] == "| :-- | --: | --: |"
    assert r"seq1\_s0" in lines[4]
    assert r"**a\*b\`c**" in lines[5]


def test_latex_escapes_what_latex_would_read() -> None:
    text = as_latex(TABLE)
    assert text.startswith("% Caption with 100 %\n\\begin{tabular}{lrr}")
    assert r"seq1\_s0 & 66.3 $\pm$ 0.4 & \{x\} \\" in text
    assert r"\textbf{\#1\textbackslash{}2}" in text
    assert r"50 \% \& more" in text
    assert text.count(r"\\" + "\n") == 3


def test_every_special_letter_is_escaped_once() -> None:
    assert escaped("\\{}") == r"\textbackslash{}\{\}"
    assert escaped("plain words 1.5") == "plain words 1.5"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_latex_compiles(tmp_path) -> None:
    body = as_latex(TABLE)
    text = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + body + "\\end{document}\n"
    (tmp_path / "t.tex").write_text(text)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "t.tex"], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


def test_csv_is_what_the_standard_reader_reads() -> None:
    text = as_csv(["name", "value"], [['a,"b"\nc', 0.1], ["d", None]])
    assert list(csv.reader(io.StringIO(text))) == [["name", "value"], ['a,"b"\nc', "0.1"], ["d", ""]]
