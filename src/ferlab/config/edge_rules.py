"""Rules for exports, their measurement, and whoever answers: formats, precisions, one model."""

from collections.abc import Iterator

from ferlab.config.edge_nodes import PRECISIONS, VARIANTS

Problem = tuple[str, str]


def precision_of_format(_: object, format: str, precision: str, output: str) -> Iterator[Problem]:
    """Not every format comes in every precision."""
    if precision not in PRECISIONS[format]:
        yield "precision", f"format={format} comes in {' and '.join(PRECISIONS[format])}, not in {precision}"
    elif output == "uint8" and precision != "int8":
        yield "output", "uint8 is for precision=int8, whose probabilities are quantised"


def variants_known(_: object, variants: list[str], threads: list[int]) -> Iterator[Problem]:
    """What is measured: formats in their precisions, on a number of threads."""
    if unknown := [one for one in variants if one not in VARIANTS] or (not variants and ["nothing"]):
        yield "variants", f"{unknown[0]} is not among {', '.join(VARIANTS)}"
    if not threads or min(threads) < 0:
        yield "threads", f"must be numbers from 0 (all cores), got {threads}"


def model_named(_: object, run: str | None, model: str | None, runtime: str) -> Iterator[Problem]:
    """What answers is a run's model or a file, one of them."""
    if (run is None) == (model is None):
        yield "run", "give run=ID, or model=FILE of an exported one; one of the two"
    if runtime not in VARIANTS:
        yield "runtime", f"{runtime} is not among {', '.join(VARIANTS)}"
    elif model is not None and runtime != "keras":
        yield "runtime", "is of a run's exports; a file says by its ending what runs it"
