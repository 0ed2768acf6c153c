"""The page of heat maps, maps.html: the images whose maps were kept, with all methods side by side."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
import PIL.Image
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from rap_keras.benchmark.reporting.document import page, plain_html
from rap_keras.benchmark.reporting.figures import MapsOfImages
from rap_keras.benchmark.reporting.words import colours, subject
from rap_keras.benchmark.statistics import Json
from rap_keras.plot.drawing import COLORMAP, PERCENTILE, color_scale

PAGE = "maps.html"
_PHOTO = "image"
_WORDS = (
    "Each map has a separate colour scale, which ends at the "
    f"{PERCENTILE}th percentile of its absolute values. Click a map to enlarge it. The arrow keys then "
    "move to other methods and images."
)


def maps_page(
    protocol: Json, images: Sequence[Json], maps: MapsOfImages
) -> Iterator[tuple[str, bytes]]:
    """The images in maps/ and then the page, as files with their paths.

    The page needs no server. Only one image's maps are in memory at a time.
    """
    records = {record["position"]: record for record in images}
    titles = [method["title"] for method in protocol["methods"]]
    sections = []
    drawn: dict[str, None] = {}
    for position in sorted(maps):
        held = maps[position]
        lines = []
        for number, title in enumerate(["", *titles]):
            if title not in held:
                continue
            path = f"maps/{position:06d}-{number}.png"
            yield path, _map(held[title]) if title else _png(PIL.Image.fromarray(held[title]))
            drawn[title or _PHOTO] = None
            lines.append(_figure(path, title or _PHOTO, held[title].shape))
        heading = f"<h2>{plain_html(_described(records.get(position, {}), position))}</h2>"
        sections.append(
            "\n".join(["<section>", heading, '<div class="maps">', *lines, "</div>", "</section>"])
        )
    model = subject(protocol)
    body = [
        "<h1>Heat maps</h1>",
        f'<p>{plain_html(model)}: <a href="report.html">the report</a>. '
        f"{plain_html(colours(protocol['methods']))} {_WORDS}</p>",
        '<div class="tools">',
        '<label>find <input id="find" type="search" placeholder="image or class"></label>',
        '<label>size <input id="side" type="range" min="80" max="400" value="150"></label>',
        f"<details><summary>methods</summary>{''.join(map(_checkbox, drawn))}</details>",
        "</div>",
        *sections,
        '<dialog><h2></h2><div class="maps"></div>',
        '<p><button type="button" data-close>Close</button></p></dialog>',
    ]
    yield PAGE, page(f"Heat maps: {model}", body, "maps.js").encode(errors="replace")


def _described(record: Json, position: int) -> str:
    parts = [str(record.get("name", position))]
    if "label" in record:
        parts.append(f"class {record['label']}")
    if "neuron" in record:
        parts.append(f"index {record['neuron']}, logit {record['logit']:.4g}")
    return ": ".join([parts[0], ", ".join(parts[1:])]) if parts[1:] else parts[0]


def _checkbox(title: str) -> str:
    name = plain_html(title)
    return f'<label><input type="checkbox" checked data-method="{name}"> {name}</label>'


def _figure(path: str, title: str, shape: Sequence[int]) -> str:
    name = plain_html(title)
    # The size of the image, which is loaded later.
    size = f'width="{shape[1]}" height="{shape[0]}"'
    return (
        f'<figure data-of="{name}"><button type="button">'
        f'<img src="{path}" alt="{name}" {size} loading="lazy"></button>'
        f"<figcaption>{name}</figcaption></figure>"
    )


def _map(heatmap: NDArray[Any]) -> bytes:
    """A palette image whose palette is the colour map."""
    colormap = matplotlib.colormaps[COLORMAP]
    places = Normalize(*color_scale(heatmap, PERCENTILE), clip=True)(heatmap)
    image = PIL.Image.fromarray(np.rint(255 * places.data).astype(np.uint8), "L")
    image.putpalette(
        np.rint(255 * colormap(np.arange(256) / 255)[:, :3]).astype(np.uint8).tobytes()
    )
    return _png(image)


def _png(image: PIL.Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
