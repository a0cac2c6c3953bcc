"""Triangle meshes from lathed, lofted, extruded and woven parts (host, NumPy).

Every part is a grid of vertices: rings that are joined (`loft`) or a sheet (`sheet`).
Faces are counter-clockwise seen from outside; `uv` is in metres along the surface, so
that a texture keeps its true size whatever it is wrapped around.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

Rgb = tuple[float, float, float]
Vector = Sequence[float] | np.ndarray
CREASE_COS = np.cos(np.deg2rad(42.0))  # Faces that meet flatter than this look smooth.


@dataclasses.dataclass(frozen=True)
class Material:
    """What a surface looks like; `textures.bake` turns it into an image."""

    kind: str  # A key of `textures.PATTERNS`.
    a: Rgb = (0.8, 0.8, 0.8)  # Main colour, linear light.
    b: Rgb = (0.4, 0.4, 0.4)  # Second colour of the pattern.
    gloss: float = 0.1  # Strength of the highlight, 0..1.
    scale: float = 0.25  # Metres that one texture tile spans.
    glow: float = 0.0  # Light that it gives off itself (windows, lamps).


@dataclasses.dataclass(frozen=True)
class Shape:
    """A mesh with what shading needs, per corner."""

    vertices: np.ndarray  # float32 (V, 3), metres.
    faces: np.ndarray  # int32 (F, 3)
    uv: np.ndarray  # float32 (F, 3, 2), metres along the surface.
    normals: np.ndarray  # float32 (F, 3, 3), unit, per corner.
    material: np.ndarray  # int32 (F,), index into `materials`.
    materials: tuple[Material, ...]

    @property
    def extent(self) -> np.ndarray:
        """The axis-aligned box, (2, 3): minimum, maximum."""
        return np.stack([self.vertices.min(0), self.vertices.max(0)])

    def moved(self, offset: Vector, turn: np.ndarray | None = None) -> "Shape":
        """The shape turned by a rotation matrix, then shifted."""
        rot = np.eye(3) if turn is None else np.asarray(turn, float)
        return dataclasses.replace(
            self,
            vertices=(self.vertices @ rot.T + np.asarray(offset)).astype(np.float32),
            normals=(self.normals @ rot.T).astype(np.float32),
        )


def rotation(axis: Vector, angle: float) -> np.ndarray:
    """The matrix that turns by `angle` radians about `axis` (Rodrigues)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    k = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * k + (1.0 - np.cos(angle)) * (k @ k)


def compose(shapes: Iterable[Shape]) -> Shape:
    """One shape from several."""
    parts = list(shapes)
    table: dict[Material, int] = {}
    for part in parts:
        for material in part.materials:
            table.setdefault(material, len(table))
    starts = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    ids = [np.array([table[m] for m in p.materials])[p.material] for p in parts]
    return Shape(
        vertices=np.concatenate([p.vertices for p in parts]),
        faces=np.concatenate(
            [p.faces + s for p, s in zip(parts, starts, strict=True)]
        ).astype(np.int32),
        uv=np.concatenate([p.uv for p in parts]),
        normals=np.concatenate([p.normals for p in parts]),
        material=np.concatenate(ids).astype(np.int32),
        materials=tuple(table),
    )


def loft(rings: np.ndarray, material: Material, *, capped: bool = True) -> Shape:
    """Joins rings of points, (R, N, 3), each counter-clockwise about the way up."""
    if capped:
        ends = [np.broadcast_to(r.mean(0), r.shape) for r in (rings[0], rings[-1])]
        rings = np.concatenate([ends[:1], rings, ends[1:]])
    closed = np.concatenate([rings, rings[:, :1]], axis=1)
    around = np.linalg.norm(np.diff(closed, axis=1), axis=-1).sum(1).max()
    u = np.linspace(0.0, around, closed.shape[1])
    steps = np.linalg.norm(np.diff(rings, axis=0), axis=-1).mean(1)
    v = np.concatenate([[0.0], np.cumsum(steps)])
    uv = np.stack(np.broadcast_arrays(u[None, :], v[:, None]), -1)
    return _grid(closed, uv, material)


def lathe(
    profile: Sequence[tuple[float, float]], material: Material, segments: int = 24
) -> Shape:
    """Turns (radius, height) points about z; outside upwards, then inside downwards."""
    r, z = np.asarray(profile, float).T
    angle = np.arange(segments) * (2.0 * np.pi / segments)
    ring = np.stack([np.cos(angle), np.sin(angle), 0.0 * angle], -1)
    rings = r[:, None, None] * ring + z[:, None, None] * np.array([0.0, 0.0, 1.0])
    return loft(rings, material)


def tube(
    path: np.ndarray, radius: np.ndarray | float, material: Material, segments: int = 8
) -> Shape:
    """A tube of round section along a path (N, 3); radii may differ along it."""
    path = np.asarray(path, float)
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
    side = np.cross(tangent[0], [0.3, 0.2, 0.93])
    angle = np.arange(segments) * (2.0 * np.pi / segments)
    rings = []
    for point, t, r in zip(
        path, tangent, np.broadcast_to(radius, len(path)), strict=True
    ):
        side = side - t * (side @ t)  # Carried along without twist.
        side /= np.linalg.norm(side)
        up = np.cross(t, side)
        ring = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * up
        rings.append(point + r * ring)
    return loft(np.stack(rings), material)


def capsule(
    start: Vector,
    end: Vector,
    radii: tuple[float, float],
    material: Material,
    segments: int = 10,
) -> Shape:
    """A limb: two balls and the cone between them."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    along = (b - a) / np.linalg.norm(b - a)
    turn = np.linspace(0.0, np.pi / 2, 4)
    tail = a - radii[0] * np.cos(turn)[:, None] * along
    mids = a + (b - a) * np.linspace(0.0, 1.0, 4)[1:-1, None]
    head = b + radii[1] * np.sin(turn)[:, None] * along
    width = np.concatenate(
        [
            radii[0] * np.sin(turn),
            np.linspace(*radii, 4)[1:-1],
            radii[1] * np.cos(turn),
        ]
    )
    return tube(np.concatenate([tail, mids, head]), width + 1e-5, material, segments)


def extrude(
    outline: np.ndarray, height: float, material: Material, bevel: float = 0.0
) -> Shape:
    """A convex outline (N, 2), counter-clockwise, pulled up, edges bevelled."""
    outline = np.asarray(outline, float)
    center = outline.mean(0)
    reach = np.linalg.norm(outline - center, axis=-1).mean()
    rings = []
    for z, inset in (
        (0.0, bevel),
        (bevel, 0.0),
        (height - bevel, 0.0),
        (height, bevel),
    ):
        if bevel == 0.0 and len(rings) == 2:
            break
        ring = center + (outline - center) * (1.0 - inset / reach)
        level = height if bevel == 0.0 and rings else z
        rings.append(np.column_stack([ring, np.full(len(ring), level)]))
    shape = loft(np.stack(rings), material)
    # Top and bottom are textured from above, not around the middle.
    flat = np.abs(shape.normals[:, :, 2]).min(1) > 0.9
    above = shape.vertices[shape.faces][..., :2]
    uv = np.where(flat[:, None, None], above, shape.uv)
    return dataclasses.replace(shape, uv=uv.astype(np.float32))


def rounded(size_x: float, size_y: float, radius: float, corner: int = 3) -> np.ndarray:
    """The outline of a rectangle with round corners, (4 * corner, 2)."""
    angle = np.linspace(0.0, np.pi / 2, corner)
    hx, hy = size_x / 2 - radius, size_y / 2 - radius
    arcs = []
    for k, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        a = angle + k * np.pi / 2
        arc = np.stack([np.cos(a), np.sin(a)], -1) * radius
        arcs.append(np.array([sx * hx, sy * hy]) + arc)
    return np.concatenate(arcs)


def sheet(points: np.ndarray, material: Material) -> Shape:
    """A surface from a grid of points (R, N, 3), facing d_column x d_row."""
    cols = np.linalg.norm(np.diff(points, axis=1), axis=-1).mean(0)
    rows = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(1)
    u = np.concatenate([[0.0], np.cumsum(cols)])
    v = np.concatenate([[0.0], np.cumsum(rows)])
    uv = np.stack(np.broadcast_arrays(u[None, :], v[:, None]), -1)
    return _grid(points, uv, material)


def panel(
    origin: Vector,
    edge_u: Vector,
    edge_v: Vector,
    material: Material,
    max_edge: float = 0.4,
) -> Shape:
    """A flat parallelogram facing edge_u x edge_v, cut into pieces below `max_edge`."""
    o, u, v = (np.asarray(x, float) for x in (origin, edge_u, edge_v))
    nu, nv = (max(1, int(np.ceil(np.linalg.norm(e) / max_edge))) for e in (u, v))
    s, t = np.linspace(0.0, 1.0, nu + 1), np.linspace(0.0, 1.0, nv + 1)
    points = o + s[None, :, None] * u + t[:, None, None] * v
    return sheet(points, material)


def box(
    low: Vector,
    high: Vector,
    material: Material,
    *,
    skip: str = "",
    max_edge: float = 0.4,
) -> Shape:
    """An axis-aligned box without the sides in `skip` (of "-x +x -y +y -z +z")."""
    a, b = np.asarray(low, float), np.asarray(high, float)
    dx, dy, dz = np.diag(b - a)
    sides = {
        "-x": (a + dy, -dy, dz),
        "+x": (a + dx, dy, dz),
        "-y": (a, dx, dz),
        "+y": (b - dz, -dx, dz),
        "-z": (a + dy, dx, -dy),
        "+z": (a + dz, dx, dy),
    }
    kept = [edges for name, edges in sides.items() if name not in skip.split()]
    return compose(panel(*edges, material, max_edge) for edges in kept)


def _grid(points: np.ndarray, uv: np.ndarray, material: Material) -> Shape:
    rows, cols = points.shape[:2]
    idx = np.arange(rows * cols).reshape(rows, cols)
    a, b, c, d = idx[:-1, :-1], idx[:-1, 1:], idx[1:, 1:], idx[1:, :-1]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2)
    faces = faces.reshape(-1, 3)
    flat, flat_uv = points.reshape(-1, 3), uv.reshape(-1, 2)
    cross = np.cross(
        flat[faces[:, 1]] - flat[faces[:, 0]], flat[faces[:, 2]] - flat[faces[:, 0]]
    )
    faces = faces[np.linalg.norm(cross, axis=-1) > 1e-10]  # Poles are points.
    return Shape(
        vertices=flat.astype(np.float32),
        faces=faces.astype(np.int32),
        uv=flat_uv[faces].astype(np.float32),
        normals=_corner_normals(flat, faces),
        material=np.zeros(len(faces), np.int32),
        materials=(material,),
    )


def _corner_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Normals averaged over the faces that meet a corner without a crease."""
    # Seams and poles repeat a position: they are one point here.
    _, point = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)
    corner = point.reshape(-1)[faces]
    p = vertices[faces]
    area = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    unit = area / np.linalg.norm(area, axis=-1, keepdims=True)
    # Rows of all corners, sorted by point: each run is the fan around one point.
    order = np.argsort(corner.reshape(-1), kind="stable")
    runs = np.flatnonzero(np.diff(corner.reshape(-1)[order])) + 1
    normals = np.empty((len(faces) * 3, 3))
    for fan in np.split(order, runs):
        near = fan // 3
        smooth = unit[near] @ unit[near].T > CREASE_COS
        normals[fan] = smooth @ area[near]
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-20
    return normals.reshape(-1, 3, 3).astype(np.float32)
