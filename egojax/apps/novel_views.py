"""What a radiance field shows to a free camera, layer by layer."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from egojax.apps.field_frames import depth_picture, gray, to_bytes
from egojax.data.stream_images import NAMES, StreamImages
from egojax.methods import field_frames
from egojax.methods.field_scene import FieldScene
from egojax.tasks.trained_fields import TrainedFields
from egojax.types import Camera

TILE_SHARE = 4  # Sides of the clip's images, in tiles.
SOLID = 0.5  # Weight from which on a pixel hides what is behind it.


def pinhole(
    c2w: np.ndarray, fov_y: float, aspect: float, size_hw: tuple[int, int]
) -> Camera:
    """A camera without a lens, whose image fills a window.

    Args:
      c2w: (4, 4), world units.
      fov_y: Radians, from the window's lower to its upper edge.
      aspect: Width of the window by its height; pixels are as oblong as that takes.
      size_hw: Pixels.
    """
    height, width = size_hw
    reach = np.tan(fov_y / 2)
    focal = width / 2 / (reach * aspect), height / 2 / reach
    intrinsics = np.array(
        [[focal[0], 0, width / 2], [0, focal[1], height / 2], [0, 0, 1]]
    )
    return Camera(intrinsics, np.linalg.inv(c2w), size_hw=size_hw)


class Wish(NamedTuple):
    """What a visitor wants to see."""

    camera: Camera
    row: int  # Of the scene: when.
    suppress_actor: bool


class FieldArtist:
    """Paints wishes: compiled once for each way of seeing the actor."""

    def __init__(
        self,
        scene: FieldScene,
        size_hw: tuple[int, int],
        trained: TrainedFields,
        chunk: int = field_frames.CHUNK,
    ):
        """Nothing is compiled before it is wished for.

        Args:
          scene: Recorded frames; its images are not read.
          size_hw: Of the clip's images, which 4 x 4 tiles are as large as, or larger.
          trained: The fields.
          chunk: Rays that are rendered at once.
        """
        self._scene = scene
        height, width = size_hw
        self.tile_hw = -(-height // TILE_SHARE), -(-width // TILE_SHARE)
        self._renderers = {
            suppress: field_frames.make_renderer(
                *trained, self.tile_hw, suppress_actor=suppress, chunk=chunk
            )
            for suppress in (False, True)
        }

    def paint(self, wish: Wish, count: int) -> Iterator[StreamImages]:
        """Yields the count x count tiles of a picture, row by row."""
        render = self._renderers[wish.suppress_actor]
        view = field_frames.view_from(self._scene, wish.row, wish.camera)
        for tile in field_frames.tiles_of(view, self.tile_hw, count):
            yield render(tile, 0)


class Layer(NamedTuple):
    """A picture of one layer, and what of it hides things behind it."""

    picture: np.ndarray  # uint8 (H, W, 3)
    depth: np.ndarray  # float32 (H, W), camera z, world units; +inf hides nothing.


def layer_names(num_streams: int) -> list[str]:
    """The layers that fields of so many streams have."""
    parts = list(NAMES[1:num_streams])
    masks = ["dynamic mask"] if parts else []
    return ["composite", "static", *parts, *masks, "depth"]


def layer(images: StreamImages, name: str) -> Layer:
    """One of `layer_names`."""
    if name == "static":
        return Layer(to_bytes(images.static_rgb), images.static_depth)
    weight = images.masks.sum(0)
    if name in NAMES:
        weight = images.masks[NAMES.index(name)]
        picture = to_bytes(images.parts[NAMES.index(name)])
    elif name == "dynamic mask":
        weight, picture = images.dynamic, gray(images.dynamic)
    elif name == "depth":
        picture = depth_picture(images.depth)
    else:
        picture = to_bytes(images.rgb)
    return Layer(picture, np.where(weight > SOLID, images.depth, np.inf))
