"""The notebook in examples/ runs, and what it shows is what it is saved with."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "four_pictures.ipynb"


def texts(notebook: Any) -> list[list[str]]:
    """The printed lines and shown texts of each code cell, without what the machine decides."""
    shown = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            told = [output for output in cell.outputs if output.get("name") != "stderr"]
            outputs = [output.get("text") or output.data["text/plain"] for output in told]
            shown.append([re.sub(r"0x[0-9a-f]+", "", text) for text in outputs])
    return shown


def pictures(notebook: Any) -> list[int]:
    """The number of pictures that each cell shows."""
    return [
        sum(bool({"image/png", "image/jpeg"} & set(output.get("data", {}))) for output in cell.get("outputs", ()))
        for cell in notebook.cells
    ]


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_is_saved_with(tmp_path: Path) -> None:
    saved = nbformat.read(NOTEBOOK, as_version=4)
    ran = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(ran, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert texts(ran) == texts(saved)
    assert pictures(ran) == pictures(saved)
    assert sum(pictures(saved)) == 3
    assert (tmp_path / "leather.onnx").exists()


def test_the_notebook_is_small_and_names_no_place_of_a_machine() -> None:
    assert NOTEBOOK.stat().st_size < 1_000_000
    assert not re.search(r"/home/|/root/|/work/|C:\\\\", NOTEBOOK.read_text(encoding="utf-8"))
