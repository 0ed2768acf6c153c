"""Draws cluttered scenes: digits on a texture, among distractors.

A scan of scikit-learn is enlarged, rotated, coloured and placed at a random position in a textured scene
with distractors (blobs, strokes, digit fragments, small shapes). A digit is lighter than its background,
but so are many distractors, and half of them have the digit's colour.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Split = Literal["train", "test"]

SIZE = 64  # height and width of a scene, in pixels
SPLITS: tuple[Split, ...] = get_args(Split)
_TEST_EVERY = 6  # Every sixth digit of scikit-learn's set is a test digit.
_EDGE = 0.3  # Opacity below which a stroke's soft edge is cut off, so that the mask is exact.
_CONTRAST = 0.25  # How much lighter (mean of RGB, 0 to 1) a digit is than its background.


@dataclass(frozen=True, eq=False)
class Digit:
    """A digit at its position in a scene."""

    label: int
    opacity: np.ndarray  # Zero off the mask, at least `_EDGE` on it.

    @property
    def mask(self) -> np.ndarray:
        """The pixels of the digit, bool `(64, 64)`."""
        return self.opacity > 0


@dataclass(frozen=True)
class Drawing:
    """The layers of one scene, colours from 0 to 255."""

    digits: Sequence[Digit]
    backdrop: np.ndarray
    ink: np.ndarray
    grain: np.ndarray

    def render(self, without: Digit | None = None) -> np.ndarray:
        """Renders the scene as uint8 RGB, optionally without one of its digits."""
        cover = sum((d.opacity for d in self.digits if d is not without), np.float32(0))
        cover = np.broadcast_to(cover, (SIZE, SIZE))[..., None]
        painted = self.backdrop + cover * (self.ink - self.backdrop) + self.grain
        return np.clip(painted + 0.5, 0, 255).astype(np.uint8)


def draw(index: int, seed: int, split: Split, count: int) -> Drawing:
    """Draws one scene with a number of digits. It depends only on these arguments."""
    stream = [seed, SPLITS.index(split), index] + [count] * (count > 1)
    rng, pool = np.random.default_rng(stream), _pool(split)
    digits = _draw_digits(rng, pool, count)

    first, second, ink = _palette(rng)
    pattern = _texture(rng)[..., None]
    backdrop = Image.fromarray(_to_uint8(first + pattern * (second - first)))
    halo = _halo(digits)  # distractors must not touch it
    for _ in range(rng.integers(6, 13)):
        shape = _distractor(rng, pool[0])
        # Half of them have the digit's colour, so that colour alone does not identify the digit.
        lookalike = rng.random() < 0.5
        colour = ink + rng.normal(0, 0.06, 3) if lookalike else rng.random(3)
        if ImageChops.darker(halo, shape).getbbox() is None:
            backdrop.paste(tuple(_to_uint8(colour).tolist()), mask=shape)
    grain = rng.uniform(2, 12) * rng.standard_normal((SIZE, SIZE, 3), np.float32)
    return Drawing(digits, np.asarray(backdrop, np.float32), 255 * ink.astype(np.float32), grain)


def _draw_digit(rng: np.random.Generator, pool: "_Pool", others: Sequence[Digit] = ()) -> Digit:
    scans, labels = pool
    # Draw the class before the digit, so that classes are balanced.
    label = int(rng.choice(np.setdiff1d(np.arange(10), [d.label for d in others])))
    scan = scans[rng.choice(np.flatnonzero(labels == label))]
    return Digit(label, _move_anywhere(rng, _enlarge(rng, scan)))


def _draw_digits(rng: np.random.Generator, pool: "_Pool", count: int) -> list[Digit]:
    """Draws digits of different classes that do not touch each other."""
    digits = [_draw_digit(rng, pool)]
    while len(digits) < count:
        more = _draw_digit(rng, pool, digits)
        if not (np.asarray(_halo(digits)) > 0)[more.mask].any():
            digits.append(more)
    return digits


def _halo(digits: Sequence[Digit]) -> Image.Image:
    """Returns the digits with a margin of two pixels. A stroke that touches a 1 would make it a 7."""
    covered = np.any([d.mask for d in digits], axis=0)
    return Image.fromarray(covered).convert("L").filter(ImageFilter.BoxBlur(2))


_Pool = tuple[np.ndarray, np.ndarray]


@functools.cache
def _pool(split: Split) -> _Pool:
    """Returns the scans (values 0 to 1, shape (k, 8, 8)) and labels of a split."""
    from sklearn.datasets import load_digits  # here, because the import takes seconds

    digits: Any = load_digits()
    is_test = np.arange(len(digits.target)) % _TEST_EVERY == 0
    chosen = is_test if split == "test" else ~is_test
    return (digits.images[chosen] / 16).astype(np.float32), digits.target[chosen]


def _enlarge(rng: np.random.Generator, scan: np.ndarray) -> np.ndarray:
    """Enlarges a scan to 20-32 pixels, slightly rotated and sheared, in the middle of a canvas."""
    cell = rng.uniform(20, 32) / 8  # Pixels of the scene per pixel of the scan.
    height, width = cell, cell * rng.uniform(0.9, 1.15)
    angle, shear = rng.uniform(-0.2, 0.2), rng.uniform(-0.12, 0.12)
    cos, sin = math.cos(angle), math.sin(angle)
    # PIL maps the scene to the scan: rotate, shear, shrink and align the centres.
    a, b = (cos + shear * sin) / width, (-sin + shear * cos) / width
    c, d = sin / height, cos / height
    blank = np.zeros((16, 16), np.float32)
    blank[4:12, 4:12] = scan  # A margin, because PIL interpolates only inside an image.
    middle, centre = 8.0, SIZE / 2
    terms = (a, b, middle - (a + b) * centre, c, d, middle - (c + d) * centre)
    return _opacity(
        Image.fromarray(blank).transform(
            (SIZE, SIZE), Image.Transform.AFFINE, terms, Image.Resampling.BICUBIC
        )
    )


def _opacity(scan: Image.Image) -> np.ndarray:
    """Returns the opacity of an enlarged scan: 0, or from `_EDGE` to 1."""
    cover = np.clip((np.asarray(scan) - 0.2) / 0.6, 0, 1)
    return np.where(cover >= _EDGE, cover, np.float32(0))


def _move_anywhere(rng: np.random.Generator, opacity: np.ndarray) -> np.ndarray:
    """Moves the drawing to a random position, at least one pixel from the border."""
    x_min, y_min, x_max, y_max = box_of(opacity > 0)
    down = rng.integers(1 - y_min, SIZE - y_max)
    right = rng.integers(1 - x_min, SIZE - x_max)
    return np.roll(opacity, (down, right), axis=(0, 1))


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Returns the tight half-open box `(x_min, y_min, x_max, y_max)` around a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _palette(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws two colours for the background and a lighter colour for the digit."""
    while True:
        first = 0.6 * rng.random(3)
        second = np.clip(first + rng.uniform(-0.3, 0.3, 3), 0, 1)
        ink = 1 - 0.6 * rng.random(3)
        if ink.mean() - max(first.mean(), second.mean()) >= _CONTRAST:
            return first, second, ink


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Draws a pattern of values 0 to 1: cloudy noise, a gradient, stripes or a chequerboard."""
    kind = rng.integers(4)
    if kind == 0:
        cells = rng.integers(4, 17)
        coarse = Image.fromarray(rng.random((cells, cells), np.float32))
        return np.clip(np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC)), 0, 1)
    x = np.arange(SIZE, dtype=np.float32) / SIZE
    y = x[:, None]
    angle = rng.uniform(0, 2 * math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    if kind == 1:
        return (along - along.min()) / (along.max() - along.min())
    across = y * math.cos(angle) - x * math.sin(angle)
    waves, shift = rng.uniform(3, 10), rng.uniform(0, 2 * math.pi)
    wave = np.sin(2 * math.pi * waves * along + shift)
    if kind == 3:
        wave = wave * np.sin(2 * math.pi * waves * across + shift)
    return np.clip(0.5 + 2 * wave, 0, 1)


def _distractor(rng: np.random.Generator, scans: np.ndarray) -> Image.Image:
    """Draws the opacity of a blob, a stroke, a digit fragment or a small shape of at most 14 pixels.

    They are smaller than any digit, so that none looks like a digit (a long stroke is a 1, a large ring
    is a 0).
    """
    plate = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(plate)
    x, y = rng.uniform(2, SIZE - 2, 2).tolist()
    reach, degrees = rng.uniform(3, 7), rng.uniform(0, 360)
    around = (x - reach, y - reach, x + reach, y + reach)
    match rng.integers(6):
        case 0:
            squeeze = rng.uniform(0, reach - 2)
            draw.ellipse((x - reach, y - reach + squeeze, x + reach, y + reach - squeeze), fill=255)
        case 1:
            top, left = rng.integers(0, 5, 2)
            piece = Image.fromarray(
                scans[rng.integers(len(scans)), top : top + 4, left : left + 4]
            ).resize((round(2 * reach), round(2 * reach)), Image.Resampling.BICUBIC)
            opacity = Image.fromarray(_to_uint8(_opacity(piece)))
            plate.paste(opacity, (round(x - reach), round(y - reach)))
        case 2:
            turn = math.radians(degrees)
            dx, dy = reach * math.cos(turn), reach * math.sin(turn)
            draw.line((x - dx, y - dy, x + dx, y + dy), fill=255, width=int(rng.integers(2, 4)))
        case 3:
            draw.arc(around, degrees, degrees + rng.uniform(60, 180), fill=255, width=2)
        case 4:
            draw.regular_polygon((x, y, reach), int(rng.integers(3, 7)), degrees, fill=255)
        case 5:
            draw.regular_polygon((x, y, reach), int(rng.integers(3, 7)), degrees, outline=255)
    return plate


def _to_uint8(share: np.ndarray) -> np.ndarray:
    """Converts values from 0 to 1, clipped, to 0 to 255."""
    return np.clip(share * 255 + 0.5, 0, 255).astype(np.uint8)
