"""Notebooks run from the first cell to the last, in a folder of their own; what is kept in them names no machine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
REAL = "is_real = recordings.is_dir()"
"""The line by which the first notebook chooses between the recordings and a simulated market."""
MACHINE = re.compile(r"(?<![\w.])/(?:work|tmp|home|root|Users|usr|opt|var|mnt|private)\b|[A-Z]:\\")

EXECUTE = """
import sys

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient


class This(KernelSpecManager):
    def get_kernel_spec(self, kernel_name):
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


path, place = sys.argv[1:]
notebook, kernel = nbformat.read(path, as_version=4), AsyncKernelManager(kernel_spec_manager=This())
NotebookClient(notebook, km=kernel, timeout=None, resources={"metadata": {"path": place}}).execute()
nbformat.write(notebook, path)
"""
"""Runs a notebook where it lies, on a kernel of the interpreter that runs this. In a process of its own: sockets of the
client outlive it.
"""


def read(path):
    return nbformat.read(path, as_version=4)


def executed(notebook, folder):
    """The notebook with what its cells said, and the folder they ran in; the user's own folders are left alone."""
    path, place = folder / "notebook.ipynb", folder / "place"
    nbformat.write(notebook, path)
    place.mkdir()
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW_", "SQUEEZE_"))}
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        environment[name] = str(folder / "jupyter")
    command = [sys.executable, "-c", EXECUTE, str(path), str(place)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-5000:]
    return read(path), place


def outputs(notebook, kind=None):
    found = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output for output in found if kind in (None, output.output_type)]


def texts(notebook):
    """Everything that an output says, pictures aside."""
    for output in outputs(notebook):
        yield from [output.text] if output.output_type == "stream" else output.get("traceback", [])
        yield from (text for kind, text in output.get("data", {}).items() if not kind.startswith("image/"))


def pictures(notebook):
    return [output for output in outputs(notebook) if "image/png" in output.get("data", {})]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom_and_warns_of_nothing(path, tmp_path):
    kept = read(path)
    notebook, place = executed(kept, tmp_path)
    assert [output.text for output in outputs(notebook, "stream") if output.name == "stderr"] == []
    assert len(pictures(notebook)) == len(pictures(kept)) > 0
    assert list(place.iterdir()) == []  # it leaves nothing in the folder that it runs in


@pytest.mark.slow
def test_without_recordings_the_squeeze_is_simulated_and_says_so(tmp_path):
    notebook = read(NOTEBOOKS[0])
    (cell,) = (cell for cell in notebook.cells if REAL in cell.source)
    cell.source = cell.source.replace(REAL, "is_real = False")
    notebook, _ = executed(notebook, tmp_path)
    assert "This is a simulated market." in "".join(texts(notebook))
    assert len(pictures(notebook)) == len(pictures(read(NOTEBOOKS[0])))
    assert [output.text for output in outputs(notebook, "stream") if output.name == "stderr"] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_kept_of_one_run_in_order(path):
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert outputs(read(path), "error") == []
    assert sum(bool(cell.outputs) for cell in code) >= len(code) // 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_that_is_kept_names_a_machine(path):
    notebook = read(path)
    said = "\n".join([*texts(notebook), *(cell.source for cell in notebook.cells)])
    assert MACHINE.findall(said) == []
    assert sys.prefix not in said
    assert str(Path.home()) not in said or str(Path.home()) == "/"
    assert all("execution" not in cell.metadata for cell in notebook.cells)  # times of day
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_a_path_of_a_machine_would_be_found():
    assert MACHINE.search("kept in /tmp/abc/lake")
    assert MACHINE.search('File "/home/me/x.py"')
    assert not MACHINE.search("sqlite:///{folder}/mlflow.db, ../shared/data and configs/import/")


def test_notebooks_are_numbered_and_small():
    assert [path.name[:3] for path in NOTEBOOKS] == ["01-", "02-", "03-"]
    assert sum(path.stat().st_size for path in NOTEBOOKS) < 1_500_000
