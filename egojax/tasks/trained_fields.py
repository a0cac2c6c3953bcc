"""The trained fields of a clip: read from its folder, for all who render them."""

import pathlib
from collections.abc import Collection
from typing import Any, NamedTuple

from flax import nnx

from egojax.data import weight_files
from egojax.data.weight_files import WeightFile
from egojax.errors import UsageError
from egojax.methods import field_scene
from egojax.methods.field_scene import SceneFrames
from egojax.methods.fields import Fields
from egojax.models import weights
from egojax.tasks import field_models
from egojax.types import Clip

FIELDS = "fields.npz"  # In the clip's folder.


class TrainedFields(NamedTuple):
    """Fields, and the weights that they learned."""

    fields: Fields
    model: nnx.Module


def places(
    trained: TrainedFields, clip: Clip, left_out: Collection[str] = ()
) -> SceneFrames:
    """The frames of a clip as the fields place them; arguments as in `read_places`."""
    frames = field_scene.read_places(clip, left_out)
    scene = trained.fields.placed(trained.model, frames.scene)
    return frames._replace(scene=scene)


def read(config: Any, path: pathlib.Path) -> TrainedFields:
    """The fields of a file.

    Raises:
      UsageError: see `weight_files.read_weights` and `make`.
    """
    return make(config, weight_files.read_weights(path, "radiance fields"), path)


def make(config: Any, found: WeightFile, where: Any) -> TrainedFields:
    """The fields that a file describes, with its weights.

    Args:
      config: Of the job.
      found: What the file holds.
      where: What errors begin with.

    Raises:
      UsageError: weights of another kind than the config's, or of another network, or
        the file does not say of which.
    """
    try:
        fields = field_models.build(config, found.about)
        model = weights.with_weights(fields.init, found.weights, str(where))
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise UsageError(
            f"{where}: what it says of its fields is damaged ({err}); train again"
        ) from None
    return TrainedFields(fields, model)
