"""Superpixels: the definition in NumPy, edges, means, limits."""

import numpy as np
import pytest

from egojax.ops.superpixels import superpixel_grid, superpixels


def by_definition(image, size, compactness, num_rounds):
    """Pixel by pixel, in float64."""
    height, width = image.shape[:2]
    rows, columns = max(round(height / size), 1), max(round(width / size), 1)
    home = {
        (y, x): (y * rows // height, x * columns // width)
        for y in range(height)
        for x in range(width)
    }
    chosen = dict(home)
    for _ in range(num_rounds):
        members = {}
        for (y, x), cell in chosen.items():
            members.setdefault(cell, []).append([*image[y, x], x + 0.5, y + 0.5])
        centers = {cell: np.mean(found, 0) for cell, found in members.items()}
        for (y, x), (row, column) in home.items():
            best = np.inf
            for i, j in [(a, b) for a in (0, -1, 1) for b in (0, -1, 1)]:
                cell = row + i, column + j
                if cell not in centers:
                    continue
                gap = np.array([*image[y, x], x + 0.5, y + 0.5]) - centers[cell]
                gap[-2:] *= compactness / size
                if gap @ gap < best:
                    best, chosen[y, x] = gap @ gap, cell
    return np.array(
        [
            [chosen[y, x][0] * columns + chosen[y, x][1] for x in range(width)]
            for y in range(height)
        ]
    )


@pytest.mark.parametrize(
    ("size_hw", "size", "rounds"), [((20, 31), 5, 2), ((9, 8), 4, 3), ((7, 12), 5, 0)]
)
def test_pixels_choose_as_the_definition_says(size_hw, size, rounds):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(*size_hw, 3)).astype(np.float32) * 5
    found = superpixels(image, size, 4.0, rounds)
    np.testing.assert_array_equal(
        found.ids, by_definition(image.astype(np.float64), size, 4.0, rounds)
    )


def test_means_are_those_of_the_pixels():
    image = np.random.default_rng(1).normal(size=(24, 30, 3)).astype(np.float32)
    found = superpixels(image, 6)
    assert found.area.shape == (4 * 5,)
    ids = np.asarray(found.ids)
    for n in range(20):
        y, x = np.nonzero(ids == n)
        assert found.area[n] == len(x)
        np.testing.assert_allclose(
            found.center_xy[n], [x.mean() + 0.5, y.mean() + 0.5], rtol=1e-5
        )
        np.testing.assert_allclose(found.color[n], image[y, x].mean(0), atol=1e-5)


def test_no_piece_crosses_a_strong_edge():
    image = np.zeros((40, 40, 3), np.float32)
    y, x = np.mgrid[:40, :40]
    is_disk = (x - 19) ** 2 + (y - 21) ** 2 < 11**2
    image[is_disk] = 100.0
    ids = np.asarray(superpixels(image, 8, 5.0, 3).ids)
    assert not set(ids[is_disk]) & set(ids[~is_disk])


def test_a_plain_image_is_cut_into_its_squares():
    ids = np.asarray(superpixels(np.full((16, 24, 3), 7.0, np.float32), 8).ids)
    y, x = np.mgrid[:16, :24]
    np.testing.assert_array_equal(ids, y // 8 * 3 + x // 8)


def test_pieces_larger_than_the_image_are_one():
    assert superpixel_grid((3, 5), 100) == (1, 1)
    found = superpixels(np.ones((3, 5, 3), np.float32), 100)
    assert np.all(np.asarray(found.ids) == 0) and found.area[0] == 15


@pytest.mark.parametrize("kwargs", [{"size": 0}, {"num_rounds": -1}])
def test_misuse_is_told(kwargs):
    with pytest.raises(ValueError, match="expected"):
        superpixels(np.ones((3, 5, 3), np.float32), **kwargs)
