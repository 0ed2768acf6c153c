"""What `import rap_keras` offers, to Python and to type checkers."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rap_keras
from rap_keras.support.keras_backend import TITLES

SUBMODULES = {
    "analyzers": "create_analyzer",
    "benchmark": "Settings",
    "callbacks": "HeatMaps",
    "composites": "rap_composite",
    "concepts": "fit",
    "datasets": "cluttered_digits",
    "bundled": "load",
    "errors": "InputError",
    "evaluation": "heatmap",
    "interop": "quantus.explain_func",
    "models": "load_model",
    "patterns": "fit",
    "plot": "explanation",
    "rules": "name_of",
}
LIGHT = (
    "analyzers",
    "benchmark",
    "concepts",
    "errors",
    "explain",
    "interop",
)  # these load nothing large either


def in_forks(cases, before=""):
    """Runs each piece of code after `import rap_keras` alone: a fork of one interpreter for each.

    `before` is run ahead of the forks, so that libraries are loaded once.
    """
    code = (
        "import os, sys, traceback\n"
        "import rap_keras\n"
        "loaded = {'tensorflow', 'keras', 'matplotlib', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        f"{before}\n"
        f"for case in {list(cases)!r}:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        try:\n"
        "            exec(case)\n"
        "        except BaseException:\n"
        "            traceback.print_exc()\n"
        "            os._exit(1)\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0, case\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_each_submodule_is_there_in_a_fresh_interpreter():
    cases = [f"assert callable(rap_keras.{name}.{own})" for name, own in SUBMODULES.items()]
    in_forks(cases, "import keras, matplotlib, scipy")


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_light_submodules_load_no_tensorflow():
    # `rap-keras concepts show` reads an atlas before it needs Keras.
    in_forks(
        f"{code}\n"
        "loaded = {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded"
        for code in (*(f"rap_keras.{m}" for m in LIGHT), "import rap_keras.concepts.atlas")
    )


def test_the_plugin_says_itself_what_it_lacks(monkeypatch):
    assert "innvestigate" not in rap_keras.__all__  # or `import *` would need iNNvestigate
    monkeypatch.delitem(sys.modules, "rap_keras.innvestigate", raising=False)
    monkeypatch.delitem(vars(rap_keras), "innvestigate", raising=False)
    monkeypatch.setitem(sys.modules, "innvestigate", None)
    with pytest.raises(ImportError, match=r"^Expected (iNNvestigate 2.1|tf.keras|TensorFlow)"):
        rap_keras.innvestigate  # noqa: B018


def test_the_list_is_whole():
    public = {name for name in rap_keras.__all__ if name.islower() and not name.startswith("_")}
    functions = {"create_analyzer", "load_analyzer", "analyzer_names", "register_rule"}
    functions |= {"register_method", "explain"}
    assert public - functions == set(SUBMODULES) - {"analyzers"}
    assert set(dir(rap_keras)) == set(rap_keras.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'plots'"):
        rap_keras.plots  # noqa: B018


USER = """
import numpy as np
import rap_keras
from rap_keras.support.keras_backend import TITLES

def use(model: object, x: np.ndarray) -> None:
    analyzer = rap_keras.create_analyzer("rap", model)
    reveal_type(analyzer)
    analyzer.analyse(x)
    analyzer.conservation(x).max_error
    analyzer.explain(x)
    figure = rap_keras.plot.explanation(x, x)
    reveal_type(rap_keras.plot.explanation)
    rap_keras.plot.explanations(x)
    rap_keras.patterns.fit(model, x).save("patterns.npz")
    rap_keras.bundled.load("vgg19")
    reveal_type(rap_keras.load_analyzer("folder"))
"""


@pytest.mark.slow
def test_type_checkers_see_the_public_face(tmp_path):
    pytest.importorskip("mypy")
    script = tmp_path / "user.py"
    script.write_text(USER)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache")]
    command += ["--config-file", "setup.cfg", "--no-error-summary", str(script)]
    found = subprocess.run(command, capture_output=True, text=True).stdout
    assert 'note: Revealed type is "rap_keras.analyzers.base.Analyzer"' in found
    assert found.count("rap_keras.analyzers.base.Analyzer") >= 2
    errors = [line for line in found.splitlines() if ": error:" in line]
    lines = [USER.splitlines()[int(line.split(":")[1]) - 1].strip() for line in errors]
    wrong = ["analyzer.analyse(x)", "rap_keras.plot.explanations(x)"]
    assert lines == [*wrong, 'rap_keras.bundled.load("vgg19")'], found


def test_messages_name_what_pip_can_install():
    root = Path(__file__).parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    homes = {
        "distributed": "benchmark/distributed.py",
        "hub": "models/hub.py",
        "innvestigate": "innvestigate/__init__.py",
    }
    assert extras.keys() == homes.keys() | TITLES.keys()
    for extra, home in homes.items():
        (requirement,) = extras[extra]
        assert f"pip install '{requirement}'" in (root / "rap_keras" / home).read_text()


def test_no_backend_is_installed_unasked():
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    names = {re.split("[<>=]", requirement)[0] for requirement in project["dependencies"]}
    assert not names & {*TITLES, "jaxlib"}
    for backend in TITLES:
        first, *_ = project["optional-dependencies"][backend]
        assert re.split("[<>=]", first)[0] == backend
