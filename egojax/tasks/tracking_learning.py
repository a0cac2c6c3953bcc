"""`--mode=train` of the tracking job: weights of the association from true ids."""

import functools
import itertools
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from egojax.data import observations
from egojax.errors import UsageError
from egojax.methods import association, association_learning, evaluation
from egojax.methods.association_learning import AssociationModel, Moments
from egojax.tasks import assoc_config, observed
from egojax.train.loop import FitConfig
from egojax.train.optim import OptimConfig, make_optimizer
from egojax.types import Clip

WEIGHTS = "weights.npz"  # In the run folder; for `config.assoc.weights`.
MODES = ("online", "lagged")


def learn(config: Any, folder: pathlib.Path) -> dict[str, Any]:
    """The fields of a `Task` that learns.

    Args:
      config: Of the tracking job.
      folder: The run folder.

    Raises:
      UsageError: the mode has no weights that are learned, or a setting is wrong.
    """
    if config.assoc.mode not in MODES:
        raise UsageError(
            f"--mode=train with config.assoc.mode={config.assoc.mode}: weights are "
            f"learned for {' and '.join(MODES)}"
        )
    return dict(
        init=functools.partial(_init, config, folder),
        batches=functools.partial(_batches, config, folder),
        loss=functools.partial(association_learning.loss, prior=config.train.prior),
        optimizer=make_optimizer(
            OptimConfig(
                learning_rate=config.train.learning_rate,
                decay_steps=config.train.steps,
            )
        ),
        fit=FitConfig(
            steps=config.train.steps,
            seed=config.seed,
            checkpoint_every=config.train.checkpoint_every,
        ),
        save=functools.partial(_save, config, folder / WEIGHTS),
        learns_after="observe",
    )


def _init(config: Any, folder: pathlib.Path, key: jax.Array) -> AssociationModel:
    del key  # It starts at the weights of the config.
    paths = sorted(folder.glob("clips/*/observations"))
    widths = (chunk.segments["feature"] for chunk in _chunks(paths))
    dim = next((table.shape[1] for table in widths if len(table)), 0)
    if not dim:
        raise UsageError("nothing to learn from: no clip has segments with features")
    weights, _ = assoc_config.weights_of(config.assoc)
    return association_learning.make_model(weights, dim)


def _chunks(paths: Iterable[pathlib.Path]) -> Iterator[observations.ObservationChunk]:
    for path in paths:
        yield from observations.read_chunks(path)


def _batches(
    config: Any, folder: pathlib.Path, clips: Iterable[Clip], key: jax.Array, first: int
) -> Iterator[Moments]:
    parts = [_moments(config, folder, clip) for clip in clips]
    data = association_learning.join(parts)
    drawn = association_learning.draw(data, config.train.batch_size, key)
    return itertools.islice(drawn, first, None)


def _moments(config: Any, folder: pathlib.Path, clip: Clip) -> Moments:
    if evaluation.true_layer(clip) is None:
        raise UsageError(f"{clip.name}: no true ids to learn from")
    chunks = observations.read_chunks(folder / "clips" / clip.name / "observations")
    rows = observed.join_chunks(chunks)
    location = observed.locate(clip, rows, config.depth)
    columns = observed.columns_of(clip, rows, location)
    weights, scale = assoc_config.weights_of(config.assoc)
    if scale is not None:
        columns = assoc_config.scaled(columns, scale, config.assoc.weights)
    nobody = association.Identities(
        columns.segment_id, np.ones(len(location), np.float32)
    )
    table = observed.table_of(rows, location, nobody)
    return association_learning.moments(
        columns,
        evaluation.true_ids(evaluation.true_frames(clip), table),
        weights,
        assoc_config.tracker_config(config.assoc),
        seed=config.seed,
    )


def _save(config: Any, path: pathlib.Path, model: AssociationModel) -> None:
    scale = np.asarray(model.feature_scale())
    _, before = assoc_config.weights_of(config.assoc)
    weights = jax.tree.map(np.asarray, model.weights())
    assoc_config.write_weights(
        path, weights, scale if before is None else scale * before
    )
