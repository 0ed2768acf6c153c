"""What README and the notebooks show runs."""

import re
from pathlib import Path

import nbformat
import pytest
import tensorflow as tf
from nbclient import NotebookClient

import rap_keras

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_readme_example_explains_and_draws(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(EXAMPLES[0], "README.md", "exec"), names)
    assert names["R"].shape == names["x"].shape
    assert sorted(p.name for p in tmp_path.iterdir()) == ["explanation.png", "layers.png"]


def test_readme_rule_registers(monkeypatch):
    monkeypatch.setattr(rap_keras.composites.composite, "_registered", {})
    own = type("MyLayer", (), {})
    exec(
        compile(EXAMPLES[-1], "README.md", "exec"),
        {"tf": tf, "rap_keras": rap_keras, "MyLayer": own},
    )
    assert list(rap_keras.composites.composite._registered) == [own]


@pytest.mark.filterwarnings(
    "ignore:.*zmq.*", "ignore::DeprecationWarning", "ignore::ResourceWarning"
)
@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_run(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
