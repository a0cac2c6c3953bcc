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
SCALE = "feature_scale"  # In a file of learned weights, beside FIELDS.
# Fields of the weights that a config may set by hand; None keeps the mode's own.
SWITCHES = ("solver", "gate", "appearance_update", "label_memory", "noise_std", "gamma")
FIELDS = tuple(f.name for f in dataclasses.fields(CostWeights))


def associate(columns: Columns, area: np.ndarray, config: Any) -> Identities:
    """Runs the association that the config asks for.

    Args:
      columns: The observations.
      area: (M,), pixels.
      config: Of the tracking job.

    Raises:
      UsageError: constraints that cannot be met.
    """
    assoc = config.assoc
    links = dict(
        must_link=read_pairs(assoc.must_link), cannot_link=read_pairs(assoc.cannot_link)
    )
    if assoc.mode == "offline":
        return tracklets.track_offline(columns, area=area, **links)
    official = assoc.mode == "official"
    weights, scale = weights_of(assoc)
    if scale is not None:
        columns = scaled(columns, scale, assoc.weights)
    return association.track_online(
        columns,
        weights,
        tracker_config(assoc),
        **links,
        seed=config.seed,
        precise=official,
    )


def tracker_config(assoc: Any) -> TrackerConfig:
    """The mode's switches, and those set by hand.

    Raises:
      UsageError: switches that do not go together.
    """
    base = OFFICIAL if assoc.mode == "official" else TrackerConfig()
    changes = {k: v for k in SWITCHES if (v := assoc.get(k)) is not None}
    if assoc.mode == "lagged":
        changes["lag"] = assoc.lag
    return dataclasses.replace(base, **changes)


def check(assoc: Any) -> None:
    """Refuses switches that do not go together, and what nothing would read.

    Files are read as well: a wrong one is told before hours of work, not after.

    Raises:
      UsageError: one line for each problem.
    """
    given = [k for k in ("weights", *SWITCHES, *FIELDS) if assoc.get(k) is not None]
    if assoc.mode == "offline" and given:
        raise UsageError(
            f"config.assoc.{given[0]} goes with online, lagged and official; offline "
            "weighs its evidence by itself"
        )
    tracker_config(assoc)
    problems = []
    for name, read in READERS.items():
        try:
            if assoc[name]:
                read(assoc[name])
        except UsageError as err:
            problems.append(f"config.assoc.{name}: {err}")
    if problems:
        raise UsageError.from_problems(problems)


def weights_of(assoc: Any) -> tuple[CostWeights, np.ndarray | None]:
    """The mode's weights, then learned ones, then those set by hand.

    Returns:
      The weights, and what features are multiplied by, float32 (D,), if it was learned.

    Raises:
      UsageError: the file of weights is not one.
    """
    base = CostWeights() if assoc.mode == "official" else DEFAULT_WEIGHTS
    changes, scale = {}, None
    if assoc.weights:
        changes, scale = read_weights(assoc.weights)
    changes |= {k: v for k in FIELDS if (v := assoc.get(k)) is not None}
    return dataclasses.replace(base, **changes), scale


def read_weights(path: str) -> tuple[dict[str, float], np.ndarray]:
    """Learned weights by name, and what features are multiplied by.

    Raises:
      UsageError: something is missing, or is not a number that can be weighed with.
    """
    learned = arrays.read_npz(path)
    missing = [k for k in (*FIELDS, SCALE) if k not in learned]
    if missing:
        raise UsageError(
            f"{path}: no weights of the association (no {missing[0]}); --mode=train "
            "writes them"
        )
    for name in (*FIELDS, SCALE):
        value = learned[name]
        numbers = value.dtype.kind == "f" and value.ndim == (name == SCALE)
        if not numbers or np.isnan(value).any() or (value < 0).any():
            raise UsageError(f"{path}: {name} is not a number of at least 0")
    weights = {k: float(learned[k]) for k in FIELDS}
    return weights, learned[SCALE].astype(np.float32)


def write_weights(path: pathlib.Path, weights: CostWeights, scale: np.ndarray) -> None:
    """Writes what `config.assoc.weights` reads."""
    columns = {k: np.asarray(getattr(weights, k), np.float32) for k in FIELDS}
    arrays.write_npz(path, {**columns, SCALE: np.asarray(scale, np.float32)})


def scaled(columns: Columns, scale: np.ndarray, path: str) -> Columns:
    """The same observations with their features multiplied, dimension by dimension.

    Raises:
      UsageError: the scale is of features of another length.
    """
    length = columns.feature.shape[1]
    if len(columns.feature) and len(scale) != length:
        raise UsageError(
            f"{path}: learned on features of length {len(scale)}, here they have "
            f"{length}"
        )
    if not len(columns.feature):
        return columns
    return dataclasses.replace(columns, feature=columns.feature * scale)


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


READERS = dict(weights=read_weights, must_link=read_pairs, cannot_link=read_pairs)
FILES = tuple(f"assoc.{name}" for name in READERS)  # Fields that name files.
