"""Numbers and tables as text: measures with their intervals; Markdown, LaTeX (booktabs) and CSV for other programs."""

import csv
import io
import re
from collections.abc import Sequence

from ferlab.evaluation.document import Table
from ferlab.evaluation.metrics import Estimate
from ferlab.evaluation.significance import PairedDifference, Spread

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "≤": r"$\leq$", "<": r"$<$", ">": r"$>$",
    "|": r"\textbar{}",
}  # fmt: skip
"""Characters that LaTeX would read as its own, or that its standard fonts lack."""


def is_correlation(measure: str) -> bool:
    """Whether a measure, such as ``mcc`` or ``twin_free_mcc``, lies in -1..1; all others are shares."""
    return measure.endswith("mcc")


def value_text(measure: str, value: float, sign: str = "") -> str:
    """``62.4``, per cent, for a share; ``0.571`` for a correlation; ``sign`` "+" for a difference."""
    return f"{value:{sign}.3f}" if is_correlation(measure) else f"{100 * value:{sign}.1f}"


def with_interval(measure: str, item: Estimate | PairedDifference, sign: str = "") -> str:
    """``62.4 [60.8, 64.0]``: the value of a measure with the ends of its interval."""
    value, low, high = (value_text(measure, one, sign) for one in (item.value, item.low, item.high))
    return f"{value} [{low}, {high}]"


def with_deviation(measure: str, spread: Spread) -> str:
    """``62.4 ± 0.5``: mean and standard deviation, the latter from two values on."""
    return value_text(measure, spread.mean) + ("" if spread.std is None else f" ± {value_text(measure, spread.std)}")


def percent(estimate: Estimate) -> str:
    """``62.4 [60.8, 64.0]``: a share in per cent with the ends of the interval."""
    return with_interval("share", estimate)


def as_markdown(table: Table) -> str:
    """The table as Markdown, columns of numbers to the right; marked rows in bold."""
    rule = [":--" if place < table.text_columns else "--:" for place in range(len(table.columns))]
    lines = [_markdown_row(table.columns), "| " + " | ".join(rule) + " |"]
    for place, row in enumerate(table.rows):
        bold = place in table.marked
        lines.append(_markdown_row(row, bold))
    caption = f"{table.caption}\n\n" if table.caption else ""
    return caption + "\n".join(lines) + "\n"


def as_latex(table: Table) -> str:
    r"""The table as a ``tabular`` of the package booktabs, to be put into a paper with ``\input``."""
    columns = "".join("l" if place < table.text_columns else "r" for place in range(len(table.columns)))
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(table.columns), r"\midrule"]
    for place, row in enumerate(table.rows):
        cells = [escaped(cell) for cell in row]
        lines.append(" & ".join(rf"\textbf{{{cell}}}" if place in table.marked else cell for cell in cells) + r" \\")
    caption = f"% {' '.join(table.caption.split())}\n" if table.caption else ""
    return caption + "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Plain values as CSV, None as an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    return text.getvalue()


def escaped(text: str) -> str:
    """The text as LaTeX shows it unchanged."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"


def _markdown_row(cells: Sequence[str], bold: bool = False) -> str:
    plain = (re.sub(r"([|\\`*_<\[])", r"\\\1", " ".join(cell.split())) for cell in cells)
    return "| " + " | ".join(f"**{cell}**" if bold and cell else cell for cell in plain) + " |"
