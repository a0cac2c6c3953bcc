"""How identities look: a colour and a name for each, the same wherever they are shown.

Ids before tracking (of 2D segments) and after it (tracks) have looks of their own. The
first 2D id of a track shares the colour of the track and every later one has another,
so that in a comparison an object that changes its colour has lost its identity.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from egojax.types import TrackTable

Color = tuple[int, int, int]  # sRGB, 0 to 255.

NEUTRAL: Color = (140, 140, 140)  # Of segments that were given no track.
NUM_COLORS = 48  # Distinct colours; later ids begin again.
LARGEST_SHOWN_ID = 9999  # Above, 2D ids are numbered by appearance.

# Linear RGB as seen without red and without green cones.
# Source: Machado et al. 2009, table 1, severity 1.
PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
# Oklab: linear RGB -> cone responses -> (cube root) -> L, a, b.
# Source: Ottosson 2020.
LMS_FROM_RGB = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
LAB_FROM_LMS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


class Look(NamedTuple):
    """Of ids of one kind."""

    color: Mapping[int, Color]
    name: Mapping[int, str]


class Looks(NamedTuple):
    """Of a clip."""

    before: Look  # By segment id.
    after: Look  # By track id.


def looks_of(table: TrackTable, category_names: tuple[str, ...]) -> Looks:
    """Gives every id of a table a colour and a name such as "mug 3"."""
    tracks = np.unique(table.track_id[table.track_id > 0])
    after = Look(
        {int(i): nth_color(int(i) - 1) for i in tracks},
        names_of(table, table.track_id, category_names),
    )
    ids, first_row = np.unique(table.segment_id, return_index=True)
    order = [int(i) for i in ids[np.argsort(first_row, kind="stable")]]
    shown = {i: i for i in order}
    if max(order, default=0) > LARGEST_SHOWN_ID:
        shown = {i: k for k, i in enumerate(order, 1)}
    owner = dict(zip(ids.tolist(), table.track_id[first_row].tolist(), strict=True))
    names = names_of(table, table.segment_id, category_names, shown)
    return Looks(Look(_colors_before(order, owner), names), after)


def _colors_before(order: list[int], owner: Mapping[int, int]) -> dict[int, Color]:
    """Colours of 2D ids in order of appearance; `owner` is the track of each."""
    colors, heads = {}, set()
    spare = max(owner.values(), default=0)
    for i in order:
        track = int(owner[i])
        if track > 0 and track not in heads:
            heads.add(track)
            colors[i] = nth_color(track - 1)
            continue
        if track > 0 and (spare - track + 1) % NUM_COLORS == 0:
            spare += 1  # It would look as if nothing had changed.
        colors[i] = nth_color(spare)
        spare += 1
    return colors


def names_of(
    table: TrackTable,
    ids: np.ndarray,
    category_names: tuple[str, ...],
    numbers: Mapping[int, int] | None = None,
) -> dict[int, str]:
    """Names such as "mug 3", from the category that most rows of an id have.

    Args:
      ids: int (M,), an id for each row of the table; those below 1 get no name.
      numbers: What to write for an id, if not the id itself.
    """
    width = len(category_names) + 1
    unique, row = np.unique(ids, return_inverse=True)
    category = np.where(table.category < len(category_names), table.category, -1)
    votes = np.bincount(row * width + category + 1, minlength=len(unique) * width)
    best = votes.reshape(-1, width).argmax(1) - 1 if len(unique) else []
    return {
        int(i): f"{category_names[k] if k >= 0 else 'object'} "
        f"{numbers[int(i)] if numbers else int(i)}"
        for i, k in zip(unique, best, strict=True)
        if i > 0
    }


def nth_color(index: int) -> Color:
    """The colour at a place of the palette, which repeats."""
    red, green, blue = palette()[index % NUM_COLORS].tolist()
    return red, green, blue


def css(color: Color) -> str:
    """A colour as a page writes it: "#1f77b4"."""
    return "#{:02x}{:02x}{:02x}".format(*color)


@functools.cache
def palette() -> np.ndarray:
    """uint8 (NUM_COLORS, 3): each colour as far as can be from all before it.

    The distance of two colours is the least that a viewer with normal vision, without
    red, or without green cones sees. All are coloured and of middle lightness, apart
    from the neutral background and readable on white and on black.
    """
    lightness, chroma, hue = np.meshgrid(
        np.linspace(0.5, 0.86, 7),
        np.linspace(0.11, 0.21, 4),
        np.arange(0, 2 * np.pi, np.pi / 30),
        indexing="ij",
    )
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], -1)
    linear = _linear_from_oklab(lab.reshape(-1, 3))
    linear = linear[((linear >= 0) & (linear <= 1)).all(1)]
    seen = [
        _oklab_from_linear(np.clip(linear @ m.T, 0, None))
        for m in (np.eye(3), PROTANOPIA, DEUTERANOPIA)
    ]
    start = np.array([0.62, -0.06, -0.13])  # A blue.
    picked = [int(np.linalg.norm(seen[0] - start, axis=1).argmin())]
    nearest = np.full(len(linear), np.inf)
    while len(picked) < NUM_COLORS:
        gaps = [np.linalg.norm(s - s[picked[-1]], axis=1) for s in seen]
        nearest = np.minimum(nearest, np.min(gaps, axis=0))
        picked.append(int(nearest.argmax()))
    return np.round(255 * _encoded(linear[picked])).astype(np.uint8)


def _oklab_from_linear(rgb: np.ndarray) -> np.ndarray:
    return np.cbrt(rgb @ LMS_FROM_RGB.T) @ LAB_FROM_LMS.T


def _linear_from_oklab(lab: np.ndarray) -> np.ndarray:
    lms = (lab @ np.linalg.inv(LAB_FROM_LMS).T) ** 3
    return lms @ np.linalg.inv(LMS_FROM_RGB).T


def _encoded(linear: np.ndarray) -> np.ndarray:
    """The transfer function of sRGB."""
    curve = 1.055 * np.power(linear, 1 / 2.4, where=linear > 0, out=linear * 0) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curve)


def color_lut(ids: Iterable[int], color: Mapping[int, Color]) -> np.ndarray:
    """uint8 (1 + n, 3): colours of ranks, black for 0 and ids without a colour."""
    rows = [(0, 0, 0), *(color.get(int(i), (0, 0, 0)) for i in ids)]
    return np.array(rows, np.uint8)
