"""The result of an analyzer: relevance, logits and explained classes."""

import base64
import dataclasses
import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rap_keras.analyzers.explained import explained_probabilities, explained_sum, region_parts
from rap_keras.errors import InputError
from rap_keras.support.files import replacing, save_npz
from rap_keras.support.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHOWN = 8
"""The number of samples that a notebook shows."""
IMAGE_FILES = (".jpg", ".pdf", ".png", ".svg")


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """The relevance of samples, with the logits and classes that it explains.

    A notebook shows it as a figure. `explanation[k]` is the explanation of one sample and
    `explanation[2:4]` that of several. A loop visits the samples one by one. Each part keeps its batch
    axis.

    Attributes:
        relevance: What `analyze` returns: an array of the shape of x, or `(batch, k, ...)` for k
            classes per sample; a list or dict of arrays for several inputs.
        logits: The model's logits, at least in single precision: `(batch, classes)` for a classifier.
        neurons: The explained output neuron (class) of each sample, int32 `(batch,)`, or `(batch, k)`
            for k per sample. For a region, a boolean array of the shape of the logits. None if the sum
            of all neurons is explained.
        method: The method, as `create_analyzer` takes it, or NAME:OPTION=VALUE as it was given.
        images: The explained pixels, uint8 `(batch, height, width, 3)`, if `rap_keras.explain` made the
            explanation. None if an analyzer did, because an analyzer gets preprocessed arrays.
        labels: The names of the classes, if known.
        model: The name of the model, if known.
        head: The function that turns the logits into probabilities: "softmax", "sigmoid" or None. With
            a sigmoid and one logit z, class 1 has the logit z and class 0 the logit -z.
        reference_output: For a regression: the value that the output is compared with.
        against: The classes that the explained one is compared with: "softmax" or "uniform" for all
            others, or the numbers of some; None without contrast.
        fit: How the images were fitted to the model's input before their maps were resized back.

    Example:
        >>> scenes = rap_keras.datasets.cluttered_digits(2)
        >>> found = rap_keras.explain("bundled:vgg", scenes.images, "gradient", target=7)
        >>> found[1].relevance.shape, [one.neurons.tolist() for one in found]
        ((1, 64, 64, 3), [[7], [7]])
    """

    relevance: Any
    logits: np.ndarray
    neurons: np.ndarray | None
    method: str
    images: np.ndarray | None = None
    labels: Sequence[str] | None = None
    model: str | None = None
    head: str | None = None
    reference_output: float = 0.0
    against: str | tuple[int, ...] | None = None
    fit: str = "warp"

    def __len__(self) -> int:
        return len(self.logits)

    def __iter__(self) -> "Iterator[Explanation]":
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int | slice) -> "Explanation":
        if not isinstance(k, slice):
            if not -len(self) <= k < len(self):
                raise IndexError(f"Expected a sample from 0 to {len(self) - 1}, got {k}.")
            k = slice(k % len(self), k % len(self) + 1)
        return dataclasses.replace(
            self,
            relevance=_each(self.relevance, lambda part: part[k]),
            logits=self.logits[k],
            neurons=None if self.neurons is None else self.neurons[k],
            images=None if self.images is None else self.images[k],
        )

    @property
    def explained_logits(self) -> np.ndarray:
        """The explained logit of each sample, float64 `(batch,)`, or `(batch, k)` for k classes each.

        For a region it is the sum of its logits. Maps of methods that conserve relevance sum to this
        number, or to 0 if there is a contrast. For class 0 of one sigmoid it is the negated logit. For
        a regression it is the output minus the reference.
        """
        neurons = self.neurons
        if self.is_binary and neurons is not None and neurons.dtype != bool:
            z = explained_sum(self.logits, np.zeros_like(neurons))
            return np.where(neurons == 0, -z, z)
        return explained_sum(self.logits, neurons) - self.reference_output

    @property
    def probabilities(self) -> np.ndarray | None:
        """The probability of the explained class, float64 of shape `(batch,)`, or `(batch, k)`.

        It is that of the softmax or sigmoid at the end of the model. A model that ends in several logits
        gets a softmax if `labels` shows that they are classes. None for a regression or a region, or if
        all neurons are explained.
        """
        if self.neurons is None or self.reference_output or not self._has_classes:
            return None
        return explained_probabilities(self.logits, self.neurons, self.head)

    @property
    def _has_classes(self) -> bool:
        """Whether the outputs are known to be classes: without head and names, they may be values."""
        return self.head is not None or self.labels is not None

    @property
    def is_binary(self) -> bool:
        """Whether the model has one output with a sigmoid: class 1 against class 0."""
        return self.head == "sigmoid" and self.logits.shape[1:] in ((), (1,))

    @property
    def is_several(self) -> bool:
        """Whether several classes of each sample are explained, with one map for each."""
        return self.neurons is not None and self.neurons.dtype != bool and self.neurons.ndim == 2

    @property
    def decisions(self) -> list[str]:
        """What is explained, in words. One text per sample, or one per class for k classes each."""
        logits, found = self.explained_logits.ravel(), self.probabilities
        chances = [""] * len(logits)
        if found is not None:
            chances = [f", probability {chance:.1%}" for chance in found.ravel()]
        parts = zip(self._explained(), logits, chances, strict=True)
        return [f"{what} {logit:.4g}{chance}" for what, logit, chance in parts]

    def _explained(self) -> list[str]:
        against = ""
        if self.against is not None:
            some = isinstance(self.against, tuple)
            against = f" against {', '.join(map(str, self.against)) if some else 'the others'}"
        if self.neurons is None:
            return [f"all outputs{against}, logits"] * len(self)
        if self.neurons.dtype != bool:
            return [f"{self._called(int(k))}{against}, logit" for k in self.neurons.ravel()]
        return [f"{words}{against}, {logit}" for words, logit in map(self._region, self.neurons)]

    def _region(self, mask: np.ndarray) -> tuple[str, str]:
        """A region in words."""
        classes, positions = region_parts(mask)
        count = int(positions.sum())
        where = "" if positions.all() else f" at {counted(count, 'position')}"
        if mask.ndim > 1 and len(classes) == 1:
            return self._called(int(classes[0])) + where, "logit"
        if mask.ndim > 1 and mask.sum() == count * mask.shape[-1]:
            return f"all outputs{where}", "logits"
        return f"{mask.sum()} outputs", "logits"

    def summaries(self) -> list[dict[str, Any]]:
        """JSON-serialisable summaries: what is explained of each sample, and the sum of its map.

        Returns:
            For each sample a dict with "neuron" ("all" for all together), "class" (its name),
            "positions" (their number in a region), "logit", "probability" (None where `probabilities`
            is None) and "relevance_sum"; with lists for k classes per sample.
        """
        parts: list[np.ndarray] = []
        _each(self.relevance, parts.append)
        lead = self.explained_logits.ndim
        sums: Any = sum(p.sum(tuple(range(lead, p.ndim)), dtype=np.float64) for p in parts)
        chances = self.probabilities
        found: list[dict[str, Any]] = []
        for k, logits in enumerate(self.explained_logits):
            neurons: Any = "all" if self.neurons is None else self.neurons[k].tolist()
            where = {}
            if self.neurons is not None and self.neurons.dtype == bool:
                classes, positions = region_parts(self.neurons[k])
                neurons = int(classes[0]) if len(classes) == 1 else classes.tolist()
                if len(classes) == self.neurons.shape[-1] > 1:
                    neurons = "all"
                where = {} if positions.all() else {"positions": int(positions.sum())}
            found.append(
                {"neuron": neurons, "class": self._label(neurons)}
                | where
                | {"logit": logits.tolist()}
                | {"probability": None if chances is None else chances[k].tolist()}
                | {"relevance_sum": sums[k].tolist()}
            )
        return found

    @property
    def regions(self) -> list[np.ndarray | None]:
        """For each sample the positions that are explained, bool `(height, width)`; None if all are."""
        if self.neurons is None or self.neurons.dtype != bool or self.neurons.ndim != 4:
            return [None] * len(self)
        # Positions of the output match the image only if the whole of it was fitted.
        masks = np.any(self.neurons, -1) & (self.fit == "warp")
        return [mask if mask.any() and not mask.all() else None for mask in masks]

    def plot(
        self, images: Any = None, count: int | None = None, title: str | None = None, **options: Any
    ) -> "Figure":
        """Draws the samples next to their maps; a single one like `rap_keras.plot.explanation`.

        If a region of the output is explained, it is outlined in the samples.

        Args:
            images: The pixels of the samples, `(batch, height, width, 3)`, `(..., 1)` or without
                channels, as `rap_keras.plot.overlay` takes them. Default: `self.images`; if there are
                none, only the maps are drawn.
            count: Draw only the first `count` samples.
            title: The title of the maps. Default: the method.
            **options: Options of `rap_keras.plot.grid`: percentile, colormap, ...

        Returns:
            The figure, with one column per class for k classes per sample.

        Raises:
            InputError: The relevance is not that of images, or an argument is invalid.
        """
        from rap_keras import plot

        maps = self._maps()[:count]
        pixels = self.images if images is None else np.asarray(images)
        if pixels is not None:
            pixels = pixels[:count]
        decisions = self.decisions[: maps.shape[0] * maps.shape[1]]
        title = self.method if title is None else title
        drawing: dict[str, Any] = {"caption": self.model} | options
        if len(maps) == 1 and maps.shape[1] == 1 and pixels is not None and len(pixels) == 1:
            above = f"{self.model}: {decisions[0]}" if self.model else decisions[0]
            drawing = {"title": title, "caption": above, "region": self.regions[0]} | options
            return plot.explanation(maps[0, 0], pixels[0], **drawing)
        if maps.shape[1] == 1:
            columns, rows = {title: maps[:, 0]}, decisions
        elif len(maps) == 1 and len(set(decisions)) == len(decisions):
            columns, rows = dict(zip(decisions, maps.swapaxes(0, 1), strict=True)), [title]
        else:
            columns = {f"{title}, {k + 1}": maps[:, k] for k in range(maps.shape[1])}
            rows = [
                "\n".join(decisions[i * maps.shape[1] :][: maps.shape[1]]) for i in range(len(maps))
            ]
        regions = None if pixels is None else self.regions[:count]
        return plot.grid(pixels, columns, row_titles=rows, **{"regions": regions} | drawing)

    def save(self, path: str | Path) -> Path:
        """Saves the arrays or the figure to a file.

        Args:
            path: `FILE.npz` saves the arrays: relevance (relevance[0], ... or by name for several
                inputs), logits, neurons and images, if present. `.png`, `.pdf`, `.svg` or `.jpg` saves
                the figure that `plot` draws.

        Returns:
            The path.

        Raises:
            InputError: The extension is not supported, the file cannot be written, or there is nothing
                to draw.
        """
        path = Path(path)
        if path.suffix == ".npz":
            with replacing(path) as file:
                save_npz(file, self._arrays())
        elif path.suffix in IMAGE_FILES:
            figure = self.plot()
            with replacing(path) as file:
                figure.savefig(file, format=path.suffix[1:])
        else:
            raise InputError(
                f"Expected a file .npz for the arrays or {', '.join(IMAGE_FILES)} for the figure, got "
                f"{str(path)!r}.",
                "path",
            )
        return path

    def __repr__(self) -> str:
        shown = "; ".join(self.decisions[:MOST_SHOWN])
        more = len(self.decisions) - MOST_SHOWN
        rest = f"; and {more} more" if more > 0 else ""
        return f"<{self.method} of {_shapes(self.relevance)}: {shown}{rest}>"

    def _repr_html_(self) -> str:
        shown = self.decisions
        lines = [f"<b>{html.escape(self.method)}</b>"]
        lines += [html.escape(line) for line in shown[:MOST_SHOWN]]
        if len(shown) > MOST_SHOWN:
            lines.append(f"… and {len(shown) - MOST_SHOWN} more")
        try:
            png = self.plot(count=MOST_SHOWN)._repr_png_()  # type: ignore[attr-defined]
        except InputError as error:  # no images, or no finite ones
            return "<br>".join([*lines, f"<i>No figure: {html.escape(str(error))}</i>"])
        data = base64.b64encode(png).decode()
        words = html.escape(f"Heat maps of {self.method}", quote=True)
        return "<br>".join(lines) + f'<br><img alt="{words}" src="data:image/png;base64,{data}">'

    def _label(self, neuron: Any) -> Any:
        if isinstance(neuron, list):
            return [self._label(one) for one in neuron]
        return self.labels[neuron] if self.labels and neuron != "all" else None

    def _called(self, neuron: int) -> str:
        label = self._label(neuron)
        word = "class" if self._has_classes else "output"
        return f"{word} {neuron}" + (f" ({label})" if label not in (None, str(neuron)) else "")

    def _maps(self) -> np.ndarray:
        """The maps `(batch, k, height, width, channels)`; k is 1 for one class per sample."""
        maps = self.relevance if isinstance(self.relevance, np.ndarray) else np.zeros(0)
        maps = maps if self.is_several else np.expand_dims(maps, 1)
        if maps.ndim != 5 or not len(maps):
            raise InputError(
                "Expected the relevance of images (height, width, channels) to draw, got that of "
                f"{_shapes(self.relevance)}."
            )
        return maps

    def _arrays(self) -> dict[str, np.ndarray]:
        several = isinstance(self.relevance, dict)
        maps = (
            {f"relevance[{name}]": part for name, part in self.relevance.items()} if several else {}
        )
        rest = {} if several else {"relevance": self.relevance}
        rest |= {"logits": self.logits, "neurons": self.neurons, "images": self.images}
        return maps | {name: array for name, array in rest.items() if array is not None}


def _each(relevance: Any, function: Callable[[Any], Any]) -> Any:
    """Applies a function to the relevance of each input."""
    if isinstance(relevance, dict):
        return {name: function(part) for name, part in relevance.items()}
    if isinstance(relevance, list | tuple):
        return type(relevance)(map(function, relevance))
    return function(relevance)


def _shapes(relevance: Any) -> str:
    if isinstance(relevance, dict | list | tuple):
        return f"{len(relevance)} inputs"
    return f"shape {relevance.shape}"
