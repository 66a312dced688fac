"""The notebooks of examples/, run as people run them: by a Jupyter kernel of this environment."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import nbformat
import pytest
from nbclient import NotebookClient

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.run import read_run
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

NOTEBOOK = ROOT / "examples/cartpole.ipynb"


def read(path: Path) -> Any:
    return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]


def outputs(notebook: Any, kind: str) -> list[Any]:
    """What its cells show of this MIME type."""
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.data[kind] for output in shown if kind in output.get("data", {})]


def printed(notebook: Any) -> str:
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return "".join(output.text for cell in cells for output in cell.outputs if output.get("name") == "stdout")


def complaints(notebook: Any) -> list[str]:
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [output.text for cell in cells for output in cell.outputs if output.get("name") == "stderr"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the notebook runs in and writes to."""
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def ran(folder: Path) -> Any:
    """The notebook with its outputs, after a training of a few blocks."""
    notebook = read(NOTEBOOK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLWAY_EXAMPLE_STEPS", "1500")
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(folder / "jupyter"))
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def test_the_notebook_is_kept_without_outputs() -> None:
    """Outputs are large and differ from run to run."""
    notebook = read(NOTEBOOK)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert notebook.metadata.kernelspec.name == "python3"


def test_the_notebook_trains_and_shows_the_curve_and_the_film(ran: Any, folder: Path) -> None:
    """Both are inline, so they stay in the notebook when the run folder is removed."""
    run = read_run(folder / "runs/notebook")
    assert (run.preset, run.steps >= 1_500) == ("cartpole", True)
    (curve,) = outputs(ran, "image/png")
    assert base64.b64decode(curve) == (folder / "runs/notebook/learning_curve.png").read_bytes()
    (film,) = (shown for shown in outputs(ran, "text/html") if "<video" in shown)
    embedded = re.search(r'src="data:video/mp4;base64,([^"]+)"', film)
    assert embedded is not None
    (folder / "embedded.mp4").write_bytes(base64.b64decode(embedded[1]))
    assert len(list(imageio.get_reader(folder / "embedded.mp4").iter_data())) > 1


def test_the_notebook_shows_progress_and_no_warnings(ran: Any) -> None:
    """Progress is that of the command, and there are no notices of libraries."""
    assert re.search(r"^step       0 of .* return .*  untrained$", printed(ran), re.MULTILINE)
    assert re.search(r"^step   1,5\d\d of .* return .*  done", printed(ran), re.MULTILINE)
    assert complaints(ran) == []


def test_the_notebook_exports_and_acts(ran: Any, folder: Path) -> None:
    """The last cell plays an episode with the exported file."""
    bundle = Bundle.open(folder / "models/cartpole/1")
    assert {parity.file for parity in bundle.manifest.parity} == {"model.onnx", "model.tflite"}
    told = re.search(r"an episode of models/cartpole/1 returned (\d+)\n\Z", printed(ran))
    assert told is not None
    assert 1 <= int(told[1]) <= 500
