"""Runs notebooks and stores them with their outputs, whose figures get 256 colours.

What goes to stderr is not stored: it names folders of this machine.

Example: python scripts/notebooks.py notebooks/01_quickstart.ipynb
"""

import argparse
import base64
import io
import re
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
INLINE = re.compile(r'(?<=src="data:image/png;base64,)[^"]+')  # figures inside HTML


def run(path: Path) -> None:
    """Runs a notebook in a new kernel and writes it back with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(
        notebook, timeout=600, record_timing=False, coalesce_streams=True, resources=where
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                reduce_figures(output.get("data", {}))
    nbformat.write(notebook, path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def reduce_figures(data: dict[str, Any]) -> None:
    """Replaces the PNG figures of an output, alone or inside HTML, by figures with 256 colours."""
    if "image/png" in data:
        data["image/png"] = palette(data["image/png"])
    if "text/html" in data:
        data["text/html"] = INLINE.sub(lambda found: palette(found[0]), data["text/html"])


def palette(encoded: str) -> str:
    """A PNG file with 256 colours. Both are base64."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(256, kmeans=1).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def main() -> None:
    """Runs the given notebooks, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "notebooks", nargs="*", type=Path, default=sorted(NOTEBOOKS.glob("*.ipynb"))
    )
    for path in parser.parse_args().notebooks:
        run(path)


if __name__ == "__main__":
    main()
