"""Lenses: from the plane z = 1 before the camera to where the image is, and back.

Points are (..., 2). `distort` takes (X / Z, Y / Z) to what focal length and principal
point are applied to; `undistort` is its inverse. A direction of 90 degrees or more from
the axis has no place on the plane.

Source: the camera models of COLMAP (src/colmap/sensor/models.h) and, for fisheye624,
of Project Aria; OpenCV's names where these share a model.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from egojax.ops.numerics import safe_divide, safe_norm, safe_sqrt
from egojax.types import typed

# The coefficients of each lens, in order.
LENSES: dict[str, tuple[str, ...]] = {
    "pinhole": (),
    "opencv": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "thin_prism_fisheye": ("k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1"),
    "fisheye624": (
        *("k0", "k1", "k2", "k3", "k4", "k5"),
        *("p0", "p1", "s0", "s1", "s2", "s3"),
    ),
    "fov": ("omega",),
    "division": ("k",),
    "eucm": ("alpha", "beta"),
}
NEWTON_STEPS = 12

Warp = Callable[[Array, Array], Array]  # Points, coefficients -> points.


@typed
def distort(
    plane: Float[Array, "*N 2"], coefficients: Float[Array, "D"], lens: str
) -> Float[Array, "*N 2"]:
    """Where the lens puts points of the plane z = 1.

    Args:
      plane: (X / Z, Y / Z).
      coefficients: In the order of `LENSES[lens]`.
      lens: A key of `LENSES`.
    """
    _check(lens, coefficients)
    if lens in FISHEYES:
        return FISHEYES[lens](_angles_from_plane(plane), coefficients)
    return WARPS[lens](plane, coefficients)


@typed
def undistort(
    image: Float[Array, "*N 2"], coefficients: Float[Array, "D"], lens: str
) -> Float[Array, "*N 2"]:
    """The inverse of `distort`, by Newton's method where it has no closed form.

    Differentiable in both arguments. Points outside of what the lens can show come back
    not finite, or wherever the iteration ends; `distort` tells.
    """
    _check(lens, coefficients)
    if lens in FISHEYES:
        angles = _solve(FISHEYES[lens], image, coefficients)
        return _plane_from_angles(angles)
    if lens in INVERSES:
        return INVERSES[lens](image, coefficients)
    return _solve(WARPS[lens], image, coefficients)


def _check(lens: str, coefficients: Array) -> None:
    if lens not in LENSES:
        raise ValueError(f"lens {lens!r}: there are {', '.join(LENSES)}")
    if coefficients.shape[-1] != len(LENSES[lens]):
        raise ValueError(
            f"{lens} has {len(LENSES[lens])} coefficients, not {coefficients.shape[-1]}"
        )


def _solve(warp: Warp, image: Array, coefficients: Array) -> Array:
    """The points that `warp` takes to `image`."""

    def newton(points: Array, target: Array, coefficients: Array) -> Array:
        """One step; its gradient is that of the solution (implicit functions)."""
        still = lax.stop_gradient(points)
        value = warp(still, coefficients)

        def column(axis: int) -> Array:
            along = jnp.zeros_like(still).at[..., axis].set(1.0)
            fixed = lax.stop_gradient(coefficients)
            return jax.jvp(lambda p: warp(p, fixed), (still,), (along,))[1]

        (a, c), (b, d) = (jnp.moveaxis(column(i), -1, 0) for i in range(2))
        gap = value - target
        det = a * d - b * c
        x = safe_divide(d * gap[..., 0] - b * gap[..., 1], det)
        y = safe_divide(a * gap[..., 1] - c * gap[..., 0], det)
        return still - jnp.stack([x, y], -1)

    fixed = lax.stop_gradient((image, coefficients))
    found = lax.fori_loop(0, NEWTON_STEPS, lambda _, p: newton(p, *fixed), fixed[0])
    return newton(found, image, coefficients)


def _angles_from_plane(plane: Array) -> Array:
    """The same direction, at a distance from the axis that is its angle in radians."""
    radius = safe_norm(plane)
    small = radius < 1e-4  # atan(r) / r is 1 there, to the last digit.
    ratio = jnp.arctan(radius) / jnp.where(small, 1.0, radius)
    return plane * jnp.where(small, 1.0, ratio)[..., None]


def _plane_from_angles(angles: Array) -> Array:
    radius = safe_norm(angles)
    small = radius < 1e-4
    ratio = jnp.tan(radius) / jnp.where(small, 1.0, radius)
    ratio = jnp.where(radius < 0.5 * jnp.pi, ratio, jnp.inf)
    return angles * jnp.where(small, 1.0, ratio)[..., None]


def _opencv(plane: Array, coefficients: Array) -> Array:
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients
    x, y = plane[..., 0], plane[..., 1]
    r2 = x * x + y * y
    top = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    radial = top / (1.0 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    dx = 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x)
    dy = 2.0 * p2 * x * y + p1 * (r2 + 2.0 * y * y)
    return jnp.stack([x * radial + dx, y * radial + dy], -1)


def _thin_prism(angles: Array, coefficients: Array) -> Array:
    k1, k2, p1, p2, k3, k4, sx1, sy1 = coefficients
    x, y = angles[..., 0], angles[..., 1]
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    dx = 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x) + sx1 * r2
    dy = 2.0 * p2 * x * y + p1 * (r2 + 2.0 * y * y) + sy1 * r2
    return jnp.stack([x * radial + dx, y * radial + dy], -1)


def _fisheye624(angles: Array, coefficients: Array) -> Array:
    k0, k1, k2, k3, k4, k5, p0, p1, s0, s1, s2, s3 = coefficients
    t2 = (angles * angles).sum(-1)
    radial = k2 + t2 * (k3 + t2 * (k4 + t2 * k5))
    radial = 1.0 + t2 * (k0 + t2 * (k1 + t2 * radial))
    x, y = angles[..., 0] * radial, angles[..., 1] * radial
    r2 = x * x + y * y
    dx = 2.0 * p1 * x * y + p0 * (r2 + 2.0 * x * x) + r2 * (s0 + s1 * r2)
    dy = 2.0 * p0 * x * y + p1 * (r2 + 2.0 * y * y) + r2 * (s2 + s3 * r2)
    return jnp.stack([x + dx, y + dy], -1)


def _fov(plane: Array, coefficients: Array) -> Array:
    (omega,) = coefficients
    radius = safe_norm(plane)
    bent = jnp.arctan(2.0 * radius * jnp.tan(0.5 * omega)) / omega
    return _rescale(plane, radius, bent, 2.0 * jnp.tan(0.5 * omega) / omega)


def _fov_inverse(image: Array, coefficients: Array) -> Array:
    (omega,) = coefficients
    radius = safe_norm(image)
    straight = jnp.tan(radius * omega) / (2.0 * jnp.tan(0.5 * omega))
    straight = jnp.where(radius * omega < 0.5 * jnp.pi, straight, jnp.inf)
    return _rescale(image, radius, straight, omega / (2.0 * jnp.tan(0.5 * omega)))


def _rescale(points: Array, radius: Array, wanted: Array, limit: Array) -> Array:
    """Points at the wanted radius; `limit` is the ratio of the two at the center."""
    small = radius < 1e-5
    ratio = jnp.where(small, limit, wanted / jnp.where(small, 1.0, radius))
    return points * ratio[..., None]


def _division(plane: Array, coefficients: Array) -> Array:
    (k,) = coefficients
    inner = 1.0 - 4.0 * k * (plane * plane).sum(-1)
    root = jnp.where(inner >= 0, safe_sqrt(inner), jnp.nan)
    return plane * (2.0 / (1.0 + root))[..., None]


def _division_inverse(image: Array, coefficients: Array) -> Array:
    (k,) = coefficients
    return image / (1.0 + k * (image * image).sum(-1))[..., None]


def _eucm(plane: Array, coefficients: Array) -> Array:
    alpha, beta = coefficients
    rho = jnp.sqrt(beta * (plane * plane).sum(-1) + 1.0)
    return plane / (alpha * rho + 1.0 - alpha)[..., None]


def _eucm_inverse(image: Array, coefficients: Array) -> Array:
    alpha, beta = coefficients
    r2 = (image * image).sum(-1)
    inner = 1.0 - (2.0 * alpha - 1.0) * beta * r2
    root = jnp.where(inner >= 0, safe_sqrt(inner), jnp.nan)
    z = (1.0 - alpha * alpha * beta * r2) / (alpha * root + 1.0 - alpha)
    return image / z[..., None]


def _identity(points: Array, coefficients: Array) -> Array:
    return points


# Warps of the plane; the fisheyes' act on `_angles_from_plane` of it.
WARPS: dict[str, Warp] = {
    "pinhole": _identity,
    "opencv": _opencv,
    "fov": _fov,
    "division": _division,
    "eucm": _eucm,
}
INVERSES: dict[str, Warp] = {
    "pinhole": _identity,
    "fov": _fov_inverse,
    "division": _division_inverse,
    "eucm": _eucm_inverse,
}
FISHEYES: dict[str, Warp] = {
    "thin_prism_fisheye": _thin_prism,
    "fisheye624": _fisheye624,
}
