"""Meshes and points from PLY files; broken ones are in test_folder.py."""

import numpy as np
import pytest
import trimesh

from egojax.data import ply

VERTICES = [[0, 0, 1], [1, 0, 1], [0, 1, 1.5]]


@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_a_mesh_keeps_its_order_and_its_colours(tmp_path, encoding):
    colors = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    mesh = trimesh.Trimesh(VERTICES, [[2, 0, 1]], vertex_colors=colors, process=False)
    mesh.export(tmp_path / "a.ply", encoding=encoding)
    found = ply.read_mesh(tmp_path / "a.ply")
    assert found.vertices.tolist() == VERTICES and found.faces.tolist() == [[2, 0, 1]]
    assert found.colors.tolist() == colors and found.colors.dtype == np.uint8
    assert found.vertices.dtype == np.float32 and found.faces.dtype == np.int32


def test_a_mesh_without_colours_has_none(tmp_path):
    trimesh.Trimesh(VERTICES, [[0, 1, 2]], process=False).export(tmp_path / "a.ply")
    assert ply.read_mesh(tmp_path / "a.ply").colors is None


def test_points_come_in_double_precision(tmp_path):
    trimesh.PointCloud(VERTICES).export(tmp_path / "a.ply")
    found = ply.read_points(tmp_path / "a.ply")
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, VERTICES)
