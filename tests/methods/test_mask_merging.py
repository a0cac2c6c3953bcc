"""K masks to two: official numbers, definitions, and what is in front."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from egojax.methods import mask_merging
from egojax.ops.image import resize_bilinear

BASIS = np.float32([(1, 0.2, 0), (0.9, 0.1, 0.1), (0, 1, 0.3), (0.1, 0.2, 1)])


def soft(count=4, height=2, width=3) -> np.ndarray:
    """Spec 10.6."""
    k, i, j = np.ogrid[:count, :height, :width]
    raised = np.exp(np.sin(6 * k + 3 * i + j))
    return (raised / raised.sum(0)).astype(np.float32)


def scene(seed, count=4, size_hw=(12, 16)):
    rng = np.random.default_rng(seed)
    raised = np.exp(2 * rng.normal(size=(count, *size_hw)))
    masks = (raised / raised.sum(0)).astype(np.float32)
    return masks, rng.normal(size=(5, 7, 6)).astype(np.float32)


def test_the_official_affinity_groups_and_masks():
    """A mask a cell, so that the mean features are the basis."""
    masks = np.eye(4, dtype=np.float32).reshape(4, 1, 4)
    found = np.asarray(mask_merging.mask_affinity(masks, BASIS[None]))
    np.testing.assert_allclose(
        found[0], [1, 0.990221, 0.1878452, 0.13397284], rtol=1e-6
    )
    assert found[2, 3] == pytest.approx(0.4673714, rel=1e-6)
    groups = mask_merging.two_groups(found)
    np.testing.assert_array_equal(groups, [False, False, True, True])
    first, second = mask_merging.merged(soft(), groups)
    rows = [0.62435256, 0.6128601, 0.4993997], [0.38650299, 0.37611104, 0.48073584]
    np.testing.assert_allclose(first, rows, rtol=1e-6)
    np.testing.assert_allclose(first + second, 1, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_affinities_are_those_of_features_made_as_large_as_the_masks(seed):
    masks, features = scene(seed)
    large = np.asarray(resize_bilinear(jnp.asarray(features), masks.shape[1:]))
    means = np.einsum("khw,hwc->kc", masks.astype(float), large)
    means /= masks.sum((1, 2))[:, None]
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    found = mask_merging.mean_features(masks, features)
    np.testing.assert_allclose(found, means, atol=1e-5)
    found = mask_merging.mask_affinity(masks, features)
    np.testing.assert_allclose(found, np.maximum(means @ means.T, 1e-6), atol=1e-5)


def test_an_empty_mask_is_like_nothing():
    masks, features = scene(0)
    masks[2] = 0
    found = np.asarray(mask_merging.mask_affinity(masks, features))
    np.testing.assert_array_equal(found[2], np.float32(1e-6))
    assert mask_merging.two_groups(found).any()


def by_definition(affinity) -> np.ndarray:
    """Every split tried on the vector, without sorting it."""
    matrix = affinity.astype(float) * (1 - np.eye(len(affinity)))
    degree = matrix.sum(1)
    values, vectors = np.linalg.eig(np.diag(1 / degree) @ (np.diag(degree) - matrix))
    vector = vectors[:, np.argsort(values.real)[1]].real
    best = min(
        mask_merging.two_group_splits(len(matrix)),
        key=lambda s: vector[s].var() * s.sum() + vector[~s].var() * (~s).sum(),
    )
    return best ^ best[0]


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_groups_are_the_least_squares_of_the_second_vector(count):
    rng = np.random.default_rng(count)
    for _ in range(20):
        features = np.abs(rng.normal(size=(count, 3)))
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        affinity = (features @ features.T).astype(np.float32)
        groups = mask_merging.two_groups(affinity)
        np.testing.assert_array_equal(groups, by_definition(affinity))
        np.fill_diagonal(affinity, 7.0)  # Does not count.
        np.testing.assert_array_equal(mask_merging.two_groups(affinity), groups)
        order = rng.permutation(count)
        moved = mask_merging.two_groups(affinity[order][:, order])
        np.testing.assert_array_equal(moved, groups[order] ^ groups[order[0]])


def test_alike_things_are_cut_somewhere_and_one_thing_is_refused():
    groups = mask_merging.two_groups(np.ones((5, 5), np.float32))
    assert groups.any() and not groups.all()
    with pytest.raises(ValueError, match="1 masks; expected two or more"):
        mask_merging.two_groups(np.ones((1, 1), np.float32))


@pytest.mark.parametrize(
    ("count", "published", "ways"), [(3, 3, 3), (4, 10, 7), (5, 15, 15)]
)
def test_the_number_of_splits_is_the_published_one(count, published, ways):
    assert len(mask_merging.two_group_splits(count, published=True)) == published
    splits = mask_merging.two_group_splits(count)
    both = {tuple(s ^ flip) for s in splits for flip in (False, True)}
    assert len(splits) == ways and len(both) == 2 * ways
    expected = set(itertools.product((False, True), repeat=count))
    assert both == expected - {(False,) * count, (True,) * count}


def disc() -> np.ndarray:
    """Something round in the middle, which ends before the border; and the rest."""
    i, j = np.ogrid[:20, :30]
    front = np.exp(-((i - 9) ** 2 + (j - 14) ** 2) / 30)
    return np.stack([front, 1 - front]).astype(np.float32)


def test_what_is_in_front_touches_less_of_the_border():
    assert mask_merging.front_by_border(disc()) == 0
    assert mask_merging.front_by_border(disc()[::-1]) == 1
    # Of two that keep off it, the smaller one; of equals, the second.
    pair = np.zeros((2, 8, 9), np.float32)
    pair[0, 2:4, 2:4], pair[1, 2:6, 5:8] = 1, 1
    assert mask_merging.front_by_border(pair) == 0
    assert mask_merging.front_by_border(pair[::-1]) == 1
    assert mask_merging.front_by_border(np.zeros((2, 8, 9), np.float32)) == 1


def test_parts_that_look_alike_come_out_as_one():
    """A disc of two halves before a ground of two halves."""
    front, rest = disc()
    left = (np.arange(30) < 14).astype(np.float32)[None]
    masks = np.stack([rest * left, front * left, rest * (1 - left), front * (1 - left)])
    features = np.zeros((20, 30, 3), np.float32)
    features[...] = (0.1, 1, 0.2)
    features[front > 0.5] = (1, 0.1, 0)
    behind, found = mask_merging.merge_to_front(masks, features)
    np.testing.assert_allclose(found, front, atol=1e-6)
    np.testing.assert_allclose(behind, rest, atol=1e-6)
    pair = mask_merging.merge_to_front(disc())
    np.testing.assert_array_equal(pair, disc()[::-1])
    with pytest.raises(ValueError, match="4 masks, and no features"):
        mask_merging.merge_to_front(masks)


def test_the_official_iou_of_the_group_that_true_labels_choose():
    """Spec 10.6; masks of another size are interpolated."""
    truth = np.zeros((4, 6), bool)
    truth[1:3, 1:4] = True
    mask = np.zeros((4, 6), np.float32)
    mask[1:3, 2:5], mask[0, 0] = 0.7, 0.5
    found = mask_merging.front_by_truth(np.stack([1 - mask, mask]), truth)
    assert found.front == 1 and found.iou == pytest.approx(0.5)
    other = np.stack([1 - mask, np.zeros_like(mask)])
    assert mask_merging.front_by_truth(other, truth).iou == pytest.approx(2 / 21)
    nothing = mask_merging.front_by_truth(np.stack([mask, mask]), truth & False)
    assert nothing == (0, 0.0)
    large = np.stack([1 - mask, mask]).repeat(2, 1).repeat(2, 2)
    assert mask_merging.front_by_truth(large, truth) == found


def test_the_best_split_finds_what_is_in_front_among_the_parts():
    front, rest = disc()
    masks = np.stack([rest * 0.5, front * 0.5, rest * 0.5, front * 0.5])
    found = mask_merging.best_split_by_truth(masks, front > 0.5)
    assert found.iou == 1
    split = mask_merging.two_group_splits(4)[found.front]
    np.testing.assert_array_equal(split ^ split[0], [False, True, False, True])
