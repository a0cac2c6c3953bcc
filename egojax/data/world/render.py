"""What the camera sees of a world, exactly: labels, depths, masks, flow, point tracks.

All functions treat one frame, are jitted, and depend on the frame's poses alone, so
that frames can be rendered in any order.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from egojax.data.world.state import World
from egojax.ops import mesh, raster
from egojax.ops.camera import pixel_centers
from egojax.types import typed


@struct.dataclass
class Scene:
    """What does not change over a clip, on the device."""

    vertices: Any  # float32 (V, 3), body axes.
    vertex_body: Any  # int32 (V,)
    faces: Any  # int32 (F, 3)
    face_body: Any  # int32 (F,)
    layer: Any  # int32 (F,): 0 = never moves, 1 = moves at some time.
    num_objects: int = struct.field(pytree_node=False)
    size_hw: tuple[int, int] = struct.field(pytree_node=False)


class View(NamedTuple):
    """One frame's poses, float32."""

    intrinsics: Float[Array, "3 3"]
    w2c: Float[Array, "4 4"]
    poses: Float[Array, "B 4 4"]  # Body to world.


class Layers(NamedTuple):
    """One frame, exact. Depth is +inf where nothing is."""

    labels: Int[Array, "H W"]  # Objects 1..K in view; 0 = anything else.
    depth: Float[Array, "H W"]
    static_depth: Float[Array, "H W"]  # Of what never moves in the clip.
    masks: Bool[Array, "K H W"]  # Amodal: seen or hidden, within the image.
    actor: Bool[Array, "H W"]
    face: Int[Array, "H W"]  # Nearest face; -1 = none.


def make_scene(world: World, size_hw: tuple[int, int]) -> Scene:
    """Puts the geometry of a world on the device."""
    layer = (~world.static_bodies)[world.face_body].astype(np.int32)
    return Scene(
        vertices=pad_rows(world.vertices),
        vertex_body=pad_rows(world.vertex_body),
        faces=pad_rows(world.faces),
        face_body=pad_rows(world.face_body),
        layer=pad_rows(layer),
        num_objects=world.num_objects,
        size_hw=size_hw,
    )


def pad_rows(values: np.ndarray, multiple: int = 8192) -> jax.Array:
    """Fills up with zeros, so that worlds share compiled code.

    A face of zeros is a point, which is never drawn.
    """
    spare = -len(values) % multiple
    return jnp.asarray(np.pad(values, ((0, spare), *[(0, 0)] * (values.ndim - 1))))


def camera_points(scene: Scene, view: View) -> raster.Vec:
    """All vertices in camera axes."""
    to_camera = jnp.einsum("ij,bjk->bik", view.w2c, view.poses)[scene.vertex_body]
    turned = jnp.einsum("vij,vj->vi", to_camera[:, :3, :3], scene.vertices)
    x, y, z = (turned + to_camera[:, :3, 3]).T
    return x, y, z


@jax.jit
def draw(scene: Scene, view: View) -> Layers:
    """Renders the geometric layers of one frame."""
    points, num = camera_points(scene, view), scene.num_objects
    plan = make_plan(scene, points, view.intrinsics, scene.size_hw)
    faces = raster.nearest_faces(plan, lambda at: scene.layer[at], 2, scene.size_hw)
    xy = pixel_centers(scene.size_hw)
    depths = [surface(scene, points, view.intrinsics, at, xy)[0] for at in faces]
    in_front = depths[1] < depths[0]
    face = jnp.where(in_front, faces[1], faces[0])
    body = jnp.where(face >= 0, scene.face_body[face], 0)
    is_object = (scene.face_body > 0) & (scene.face_body <= num)
    plan = make_plan(scene, points, view.intrinsics, scene.size_hw, is_object)
    owner = jnp.clip(scene.face_body - 1, 0, num - 1)
    return Layers(
        labels=jnp.where(body <= scene.num_objects, body, 0),
        depth=jnp.where(in_front, depths[1], depths[0]),
        static_depth=depths[0],
        masks=raster.covered(plan, lambda at: owner[at], num, scene.size_hw),
        actor=body > scene.num_objects + 1,
        face=face,
    )


def make_plan(
    scene: Scene,
    points: raster.Vec,
    intrinsics: Array,
    size_hw: tuple[int, int],
    keep: Array | bool = True,
) -> raster.Plan:
    """What it takes to draw the faces that are turned towards a camera."""
    clip = mesh.NEAR, mesh.FAR
    return raster.make_plan(points, scene.faces, intrinsics, clip, True, size_hw, keep)


def surface(
    scene: Scene,
    points: raster.Vec,
    intrinsics: Array,
    face: Int[Array, "*S"],
    xy: Float[Array, "*S 2"],
) -> tuple[Float[Array, "*S"], Float[Array, "*S 3"]]:
    """Depth of the plane of a face at image points, and the weights of its corners.

    Where the face is -1 or its plane not ahead, +inf and 0.
    """
    x, y = raster.unproject(intrinsics, xy[..., 0], xy[..., 1])
    return raster.planes_at(points, scene.faces, face, x, y)


def corner_weights(scene: Scene, view: View, layers: Layers) -> Float[Array, "H W 3"]:
    """Where on its face each pixel's point is: weights of the corners, in space."""
    points, xy = camera_points(scene, view), pixel_centers(scene.size_hw)
    return surface(scene, points, view.intrinsics, layers.face, xy)[1]


def body_points(
    scene: Scene, face: Int[Array, "*S"], bary: Float[Array, "*S 3"]
) -> Float[Array, "*S 3"]:
    """Points on faces, in the axes of their bodies."""
    return jnp.einsum("...ij,...i->...j", scene.vertices[scene.faces[face]], bary)


def project_points(
    scene: Scene, view: View, face: Int[Array, "*S"], points: Float[Array, "*S 3"]
) -> tuple[Float[Array, "*S 2"], Float[Array, "*S"]]:
    """Pixels and depths at which another frame sees body points; z <= 0 is behind."""
    pose = jnp.einsum("ij,bjk->bik", view.w2c, view.poses)[scene.face_body[face]]
    cam = jnp.einsum("...ij,...j->...i", pose[..., :3, :3], points) + pose[..., :3, 3]
    z = jnp.maximum(cam[..., 2:], mesh.NEAR)
    focal = jnp.stack([view.intrinsics[0, 0], view.intrinsics[1, 1]])
    ahead = (1,) * (cam.ndim - 1)
    focal, center = focal.reshape(*ahead, 2), view.intrinsics[:2, 2].reshape(*ahead, 2)
    xy = cam[..., :2] / z * focal + center
    return xy, cam[..., 2]


@jax.jit
def flow(
    scene: Scene, layers: Layers, view: View, other: View
) -> Float[Array, "H W 2"]:
    """Where each pixel's point is in another frame, minus where it is in this one.

    Args:
      layers, view: Of this frame.
      other: Of the other one.
    """
    points = body_points(scene, layers.face, corner_weights(scene, view, layers))
    xy, _ = project_points(scene, other, layers.face, points)
    moved = xy - pixel_centers(scene.size_hw)
    return jnp.where((layers.face >= 0)[..., None], moved, 0.0)


class Points(NamedTuple):
    """Surface points to follow."""

    face: Int[Array, "N"]
    at: Float[Array, "N 3"]  # Axes of the face's body.


@functools.partial(jax.jit, static_argnames="count")
@typed
def pick_points(
    scene: Scene, layers: Layers, view: View, key: Array, count: int
) -> Points:
    """Points of a frame, half of them on what moves or is an object."""
    flat = layers.face.reshape(-1)
    body = jnp.where(flat >= 0, scene.face_body[flat], 0)
    share = jnp.where(body > 0, 1.0 / jnp.maximum((body > 0).sum(), 1), 0.0)
    share += jnp.where(body == 0, 1.0 / jnp.maximum((body == 0).sum(), 1), 0.0)
    share = jnp.where(flat >= 0, share, 0.0) + 1e-12
    at = jax.random.choice(key, flat.shape[0], (count,), p=share / share.sum())
    face = jnp.maximum(flat[at], 0)
    weights = corner_weights(scene, view, layers).reshape(-1, 3)[at]
    return Points(face, body_points(scene, face, weights))


@jax.jit
@typed
def follow_points(
    scene: Scene, layers: Layers, view: View, points: Points
) -> tuple[Float[Array, "N 2"], Bool[Array, "N"]]:
    """Where points are in a frame, and whether nothing hides them."""
    xy, z = project_points(scene, view, points.face, points.at)
    height, width = scene.size_hw
    size = jnp.array([width, height], jnp.float32)
    inside = ((xy >= 0.0) & (xy < size[None])).all(-1) & (z > mesh.NEAR)
    col, row = jnp.clip(xy.astype(jnp.int32), 0, size.astype(jnp.int32)[None] - 1).T
    hit = layers.face[row, col]
    # The surface seen by that pixel, carried to the very point within the pixel.
    points_now = camera_points(scene, view)
    behind, _ = surface(scene, points_now, view.intrinsics, hit, xy)
    same_body = scene.face_body[hit] == scene.face_body[points.face]
    slack = jnp.where(same_body, 0.004, 0.001) + 0.002 * z
    return xy, inside & (z <= behind + slack)
