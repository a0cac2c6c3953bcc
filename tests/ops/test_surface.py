"""Meshes from points, and Embree beside the rasteriser."""

import sys

import numpy as np
import pytest
import scipy.spatial

from egojax.errors import UsageError
from egojax.ops import camera as cam
from egojax.ops import mesh as meshes
from egojax.ops import surface
from egojax.types import Camera, Mesh


def ball(num=3000, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(num, 3))
    radius = rng.uniform(0, 1, (num, 1)) ** (1 / 3)
    return points / np.linalg.norm(points, axis=1, keepdims=True) * radius


def volume(mesh: Mesh) -> float:
    a, b, c = (np.float64(mesh.vertices)[mesh.faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def edges_of(mesh: Mesh) -> np.ndarray:
    return np.concatenate([mesh.faces[:, [i, (i + 1) % 3]] for i in range(3)])


def make_camera(size_hw=(120, 160), back=3.0, lens="PINHOLE", extra=()) -> Camera:
    height, width = size_hw
    params = [1.1 * width, 1.1 * width, width / 2, height / 2, *extra]
    pose = np.eye(4)
    pose[:3, :3] = cam.rotation_from_quaternion(np.float32([1, 0.2, -0.3, 0.1]))
    pose[2, 3] = back
    return cam.camera_from_colmap(lens, params, size_hw, pose)


def in_float32(camera: Camera) -> Camera:
    return Camera(
        np.float32(camera.intrinsics),
        np.float32(camera.w2c),
        size_hw=camera.size_hw,
    )


def test_a_filled_ball_becomes_a_closed_surface_turned_outward():
    mesh = surface.mesh_from_points(ball())
    assert 0.8 * 4 / 3 * np.pi < volume(mesh) < 4 / 3 * np.pi
    directed = {tuple(edge) for edge in edges_of(mesh)}
    assert all(edge[::-1] in directed for edge in directed)


def test_alpha_decides_whether_a_gap_is_closed():
    """Two cubes of points, 1 apart."""
    grid = np.stack(np.meshgrid(*[np.arange(6) * 0.2] * 3), -1).reshape(-1, 3)
    grid = grid + np.random.default_rng(0).normal(0, 0.01, grid.shape)
    points = np.concatenate([grid, grid + np.array([2.0, 0, 0])])
    apart = surface.mesh_from_points(points, alpha=0.3)
    together = surface.mesh_from_points(points, alpha=1e9)
    np.testing.assert_allclose(volume(apart), 2.0, rtol=0.1)
    np.testing.assert_allclose(volume(together), 3.0, rtol=0.1)


def test_the_definition_holds_tetrahedron_by_tetrahedron():
    points = ball(60, 1)
    mesh = surface.mesh_from_points(points, alpha=0.6)

    count: dict[tuple, int] = {}
    for simplex in scipy.spatial.Delaunay(points).simplices:
        corners = points[simplex]
        center = np.linalg.solve(
            2 * (corners[1:] - corners[0]),
            (corners[1:] ** 2).sum(1) - (corners[0] ** 2).sum(),
        )
        if np.linalg.norm(center - corners[0]) < 0.6:
            for i in range(4):
                face = tuple(sorted(np.delete(simplex, i)))
                count[face] = count.get(face, 0) + 1
    expected = {face for face, times in count.items() if times == 1}
    at = {tuple(np.float32(p)): i for i, p in enumerate(points)}
    back = np.array([at[tuple(v)] for v in mesh.vertices])
    assert {tuple(sorted(back[face])) for face in mesh.faces} == expected


@pytest.mark.parametrize(
    ("points", "found"),
    [
        (np.zeros((3, 3)), "at least 4"),
        (np.random.default_rng(0).normal(size=(50, 3)) * [1, 1, 0], "plane"),
        (np.full((9, 3), np.nan), "finite"),
        (np.zeros((9, 2)), "finite"),
    ],
)
def test_points_that_enclose_nothing_are_told(points, found):
    with pytest.raises(UsageError, match=found):
        surface.mesh_from_points(points)


def test_an_alpha_too_small_is_told():
    with pytest.raises(UsageError, match="alpha"):
        surface.mesh_from_points(ball(50), alpha=1e-6)


@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize("back", [3.0, 0.2])
def test_embree_and_the_rasteriser_agree(cull, back):
    """From outside and, with near faces cut, from within."""
    pytest.importorskip("embreex")
    mesh = surface.mesh_from_points(ball(4000), alpha=0.4)
    camera = make_camera(back=back)
    cast = surface.EmbreeScene(mesh).depth(camera, cull=cull)
    drawn = np.asarray(
        meshes.render_depth(mesh.vertices, mesh.faces, in_float32(camera), cull=cull)
    )
    both = np.isfinite(cast) & np.isfinite(drawn)
    assert (np.isfinite(cast) != np.isfinite(drawn)).mean() <= 2e-4
    if cull and back < 1:  # From within, all faces show their backs.
        assert not both.any()
        return
    gap = np.abs(cast[both] - drawn[both]) / cast[both]
    assert np.quantile(gap, 0.999) < 1e-5 and both.mean() > 0.2


def test_embree_looks_through_a_lens():
    """A wall at z = 4 is at depth 4 wherever it is seen."""
    pytest.importorskip("embreex")
    wall = np.float32([[-99, -99, 4], [99, -99, 4], [99, 99, 4], [-99, 99, 4]])
    scene = surface.EmbreeScene(Mesh(wall, np.int32([[0, 1, 2], [0, 2, 3]])))
    camera = make_camera(lens="OPENCV_FISHEYE", extra=(0.05, 0.01, 0.0, 0.0))
    camera = camera.replace(w2c=np.eye(4))
    depth = scene.depth(camera)
    np.testing.assert_allclose(depth, 4.0, rtol=1e-5)
    assert np.isinf(scene.depth(camera, far=3.9)).all()
    assert np.isinf(scene.depth(camera, near=4.1)).all()


def test_without_embree_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "embreex.rtcore_scene", None)
    mesh = Mesh(np.zeros((3, 3), np.float32), np.int32([[0, 1, 2]]))
    with pytest.raises(UsageError, match=r"egojax\[mesh\]"):
        surface.EmbreeScene(mesh)
