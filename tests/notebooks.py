"""The notebooks of examples/, executed: `python tests/notebooks.py` writes their outputs anew."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in a folder, by the Python that runs this; return it with its outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell raises an exception.
    """
    notebook = nbformat.read(path, as_version=4)
    # `!pycam` is the command of this environment.
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    client = NotebookClient(notebook, timeout=600, record_timing=False, resources={"metadata": {"path": str(folder)}})
    client.execute(env={**os.environ, "PATH": programs})
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = joined(cell.outputs)
        for output in cell.get("outputs", []):
            # The HTML of a prediction has its image.
            if "text/html" in output.get("data", {}):
                output.data.pop("image/jpeg", None)
    # The Python that ran it is of no interest.
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Return outputs with the text of each stream in one piece: what takes longer is printed in more pieces."""
    whole: list[nbformat.NotebookNode] = []
    for output in outputs:
        if whole and "name" in output and output.name == whole[-1].get("name"):
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


if __name__ == "__main__":
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)
        print(path, path.stat().st_size)
