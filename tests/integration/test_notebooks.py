"""Every notebook runs from its first to its last cell, on drawn faces and from a FERLAB_HOME that does not exist."""

import os
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
FIGURES = {"01_data_audit": 2, "02_compare_runs": 4, "03_error_analysis": 6}
"""Pictures that a reader must see, at the least."""


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_from_nothing(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    for name in [name for name in os.environ if name.startswith(("MLFLOW", "FERLAB"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FERLAB_HOME", str(tmp_path / "home"))
    book = nbformat.read(file, 4)
    client = nbclient.NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= FIGURES[file.stem]
    complaints = [output.text for output in outputs if output.get("name") == "stderr"]
    assert not complaints
    assert (tmp_path / "home" / "mlflow.db").is_file()
    if file.stem == "02_compare_runs":
        assert (tmp_path / "accuracy.pdf").read_bytes().startswith(b"%PDF")
