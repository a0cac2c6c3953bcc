"""Triangle meshes seen by a pinhole camera: nearest face, depth, amodal coverage.

Pixels are sampled at their centers; `depth` is camera z, +inf = nothing there. How
triangles become pixels is in `ops.raster`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from egojax.ops import raster
from egojax.types import Camera, typed

NEAR, FAR = 0.05, 800.0  # World units, those of the published renderer.


class Hits(NamedTuple):
    """What each pixel's center sees."""

    face_idx: Int[Array, "H W"]  # int32; -1 = none.
    depth: Float[Array, "H W"]  # Camera z; +inf = none.
    barycentric: Float[Array, "H W 3"]  # Of the corners, in space; 0 = none.


@functools.partial(jax.jit, static_argnames="cull")
@typed
def rasterize(
    vertices: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    camera: Camera,
    *,
    near: float | Float[Array, ""] = NEAR,
    far: float | Float[Array, ""] = FAR,
    cull: bool = False,
) -> Hits:
    """Finds the nearest triangle at every pixel center.

    Args:
      vertices: World units.
      faces: Rows of `vertices`. Triangles without area, or with a corner that is not
        finite, are not drawn.
      camera: One pinhole camera with `size_hw`.
      near: Nothing nearer is drawn, > 0.
      far: Nothing farther is drawn.
      cull: Draw only faces whose corners run counter-clockwise as seen.

    Returns:
      Face, depth and barycentric weights. Depth and weights are differentiable in
      `vertices` and in the camera's pose and intrinsics, for the faces that are seen.
      For several cameras use `jax.lax.map`.

    Raises:
      ValueError: not a single pinhole camera.

    Differs: the published OpenGL renderer samples one of the driver's sub-samples,
      keeps 24 bits of depth, and always culls.
    """
    _check_camera(camera)
    if not len(faces):
        return _nothing(camera.size_hw)
    points, plan = _plan(vertices, faces, camera, (near, far), cull)
    (face_idx,) = raster.nearest_faces(plan, jnp.zeros_like, 1, camera.size_hw)
    seen = raster.planes_at(points, faces, face_idx, *_directions(camera))
    return Hits(face_idx, *seen)


@functools.partial(jax.jit, static_argnames="cull")
@typed
def render_depth(
    vertices: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    camera: Camera,
    *,
    near: float | Float[Array, ""] = NEAR,
    far: float | Float[Array, ""] = FAR,
    cull: bool = False,
) -> Float[Array, "H W"]:
    """The depth at every pixel, +inf where there is no face.

    Arguments, errors and derivatives are those of `rasterize`, which takes twice as
    long to name the faces too; of faces that meet at a pixel, this takes the nearest
    depth, where `rasterize` counts 1e-6 of it as the same.
    """
    _check_camera(camera)
    if not len(faces):
        return _nothing(camera.size_hw).depth
    points, plan = _plan(vertices, faces, camera, (near, far), cull)
    return _nearest_depth(points, *_directions(camera), plan)


@jax.custom_jvp
def _nearest_depth(points: raster.Vec, x: Array, y: Array, plan: raster.Plan) -> Array:
    """One pass where nobody asks for a derivative, which needs the faces.

    Points and directions (x, y) are here for their derivatives alone; the plan has all.
    """
    depth = raster.nearest_depth(plan, (y.shape[0], x.shape[1]))
    return depth.astype(jnp.result_type(points[0], x))


@_nearest_depth.defjvp
def _nearest_depth_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    points, x, y, plan = primals
    (face_idx,) = raster.nearest_faces(
        plan, jnp.zeros_like, 1, (y.shape[0], x.shape[1])
    )

    def depth(points: raster.Vec, x: Array, y: Array) -> Array:
        return raster.planes_at(points, plan.faces, face_idx, x, y)[0]

    return jax.jvp(depth, (points, x, y), tangents[:3])


@functools.partial(jax.jit, static_argnames=("num_objects", "cull"))
@typed
def coverage(
    vertices: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    face_object: Int[Array, "F"],
    camera: Camera,
    num_objects: int,
    *,
    near: float | Float[Array, ""] = NEAR,
    far: float | Float[Array, ""] = FAR,
    cull: bool = False,
) -> Bool[Array, "K H W"]:
    """Amodal masks: the pixels that each object covers, seen or hidden.

    Args:
      face_object: 0 .. num_objects - 1; faces of any other value are left out.
      num_objects: K.
      vertices, faces, camera, near, far, cull: As for `rasterize`.
    """
    _check_camera(camera)
    if not len(faces) or not num_objects:
        return jnp.zeros((num_objects, *camera.size_hw), bool)
    points = _camera_points(vertices, camera)
    keep = (face_object >= 0) & (face_object < num_objects)
    intrinsics, clip = jnp.asarray(camera.intrinsics), (near, far)
    plan = raster.make_plan(points, faces, intrinsics, clip, cull, camera.size_hw, keep)

    def owner(face: Array) -> Array:
        return jnp.clip(face_object[face], 0, num_objects - 1)

    return raster.covered(plan, owner, num_objects, camera.size_hw)


def _plan(
    vertices: Array, faces: Array, camera: Camera, clip: tuple[Any, Any], cull: bool
) -> tuple[raster.Vec, raster.Plan]:
    """The vertices in camera axes, and what it takes to draw them."""
    points = _camera_points(vertices, camera)
    fixed, intrinsics, clip = lax.stop_gradient(
        (points, jnp.asarray(camera.intrinsics), clip)
    )
    size_hw = camera.size_hw
    return points, raster.make_plan(fixed, faces, intrinsics, clip, cull, size_hw)


def _nothing(size_hw: tuple[int, int]) -> Hits:
    return Hits(
        face_idx=jnp.full(size_hw, -1, jnp.int32),
        depth=jnp.full(size_hw, jnp.inf),
        barycentric=jnp.zeros((*size_hw, 3)),
    )


def _check_camera(camera: Camera) -> None:
    if camera.lens != "pinhole" or jnp.ndim(camera.intrinsics) != 2:
        shape = jnp.shape(camera.intrinsics)
        raise ValueError(
            f"meshes are drawn for one pinhole camera, not {camera.lens} {shape}"
        )


def _camera_points(vertices: Array, camera: Camera) -> raster.Vec:
    """Vertices in camera axes, an array per axis.

    The camera's center is subtracted first: far from the world's origin, rotating first
    would round away what matters.
    """
    turn, shift = camera.w2c[:3, :3], camera.w2c[:3, 3]

    x, y, z = (vertices + (shift @ turn)[None, :]).T
    a, b, c = (row[0] * x + row[1] * y + row[2] * z for row in turn)
    return a, b, c


def _directions(camera: Camera) -> tuple[Array, Array]:
    """(x, y) of the rays d = (x, y, 1) through all pixel centers."""
    height, width = camera.size_hw
    u = (jnp.arange(width) + 0.5)[None, :]
    v = (jnp.arange(height) + 0.5)[:, None]
    return raster.unproject(jnp.asarray(camera.intrinsics), u, v)
