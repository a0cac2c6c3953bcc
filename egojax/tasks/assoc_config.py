"""From `config.assoc` to a tracker and its weights."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from egojax.data import arrays
from egojax.errors import UsageError
from egojax.methods import association, tracklets
from egojax.methods.association import DEFAULT_WEIGHTS, Columns, Identities
from egojax.methods.tracker import OFFICIAL, TrackerConfig
from egojax.ops.association import CostWeights

MODES = ("online", "lagged", "offline", "official")
# Fields of the weights that a config may set by hand; None keeps the mode's own.
FIELDS = tuple(f.name for f in dataclasses.fields(CostWeights))


def associate(columns: Columns, area: np.ndarray, config: Any) -> Identities:
    """Runs the association that the config asks for.

    Args:
      columns: The observations.
      area: (M,), pixels.
      config: Of the tracking job.

    Raises:
      UsageError: no such mode, or constraints that cannot be met.
    """
    assoc = config.assoc
    if assoc.mode not in MODES:
        raise UsageError(
            f"config.assoc.mode={assoc.mode}: there are {', '.join(MODES)}"
        )
    links = dict(
        must_link=read_pairs(assoc.must_link), cannot_link=read_pairs(assoc.cannot_link)
    )
    if assoc.mode == "offline":
        return tracklets.track_offline(columns, area=area, **links)
    official = assoc.mode == "official"
    base = OFFICIAL if official else TrackerConfig()
    changes = {
        name: value
        for name in ("solver", "gate", "appearance_update", "label_memory", "noise_std")
        if (value := assoc.get(name)) is not None
    }
    if assoc.mode == "lagged":
        changes["lag"] = assoc.lag
    return association.track_online(
        columns,
        weights_of(assoc, CostWeights() if official else DEFAULT_WEIGHTS),
        dataclasses.replace(base, **changes),
        **links,
        seed=config.seed,
        precise=official,
    )


def weights_of(assoc: Any, base: CostWeights) -> CostWeights:
    """The mode's weights, then learned ones, then those set by hand."""
    changes = {}
    if assoc.weights:
        learned = arrays.read_npz(assoc.weights)
        changes = {k: float(learned[k]) for k in FIELDS if k in learned}
    changes |= {k: v for k in FIELDS if (v := assoc.get(k)) is not None}
    return dataclasses.replace(base, **changes)


def read_pairs(path: str | None) -> list[association.Pair]:
    """Constraints from JSON: [[[frame, id], [frame, id]], ...].

    Raises:
      UsageError: the file is not of that form.
    """
    if not path:
        return []
    rows = arrays.read_json(pathlib.Path(path))
    good = isinstance(rows, list) and all(
        isinstance(pair, list)
        and len(pair) == 2
        and all(
            isinstance(end, list)
            and len(end) == 2
            and all(type(number) is int for number in end)
            for end in pair
        )
        for pair in rows
    )
    if not good:
        raise UsageError(
            f"{path}: expected a list of pairs [[frame, id], [frame, id]] of integers"
        )
    return [(tuple(a), tuple(b)) for a, b in rows]
