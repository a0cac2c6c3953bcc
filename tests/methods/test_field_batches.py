"""Which rays a step sees, in pages or not, and what the host says they show."""

import itertools
import tracemalloc

import jax
import numpy as np
import pytest

from egojax.methods import field_batches
from egojax.methods.field_batches import RayBatch, ray_batches
from egojax.methods.field_scene import FieldScene
from egojax.types import Camera

FRAMES = np.array([0, 2, 4, 5, 7])
SIZE = (6, 8)
PIXELS = 48
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, *SIZE, 3), np.uint8)
MASKS = RNG.integers(0, 256, (8, *SIZE), np.uint8)


def rays_of(count: int, *args, **options) -> np.ndarray:
    batches = itertools.islice(ray_batches(*args, **options), count)
    return np.stack([batch.rays for batch in batches])


def by_permutation(seed: int, batch: int, steps: int) -> np.ndarray:
    """The order without pages, by its definition: a permutation an epoch."""
    total = len(FRAMES) * PIXELS
    epochs = range(-(-batch * steps // total))
    ray = [np.random.default_rng([seed, e]).permutation(total) for e in epochs]
    ray = np.concatenate(ray)[: batch * steps].reshape(steps, batch)
    return np.stack([FRAMES[ray // PIXELS], ray % PIXELS], -1)


@pytest.mark.parametrize("batch", [1, 18, 500])
@pytest.mark.parametrize("page", [None, 5, 100])
def test_one_permutation_an_epoch_is_the_order_where_all_is_in_memory(batch, page):
    found = rays_of(4, FRAMES, PIXELS, batch, 3, page=page)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, by_permutation(3, batch, 4))


@pytest.mark.parametrize("page", [None, 1, 2, 3])
def test_every_ray_comes_once_before_any_comes_again(page):
    rays = rays_of(40, FRAMES, PIXELS, 18, 0, page=page).reshape(-1, 2)
    everything = sorted(itertools.product(FRAMES, range(PIXELS)))
    for epoch in (rays[:240], rays[240:480], rays[480:720]):
        assert sorted(map(tuple, epoch.tolist())) == everything
    assert (rays[:240] != rays[240:480]).any()


@pytest.mark.parametrize("first", [1, 7, 13, 14, 40])
@pytest.mark.parametrize("page", [None, 1, 2])
def test_a_run_that_goes_on_sees_what_one_that_never_stopped_sees(first, page):
    options = {"layers": {"images": IMAGES}, "page": page}
    whole = ray_batches(FRAMES, PIXELS, 18, 3, **options)
    later = ray_batches(FRAMES, PIXELS, 18, 3, first, **options)
    for a, b in itertools.islice(
        zip(itertools.islice(whole, first, None), later, strict=False), 5
    ):
        jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("page", [None, 1, 2, 5])
@pytest.mark.parametrize("batch", [7, 130])  # Shorter than a page, longer than some.
def test_batches_bring_what_the_layers_show(tmp_path, page, batch):
    """From memory and from a file; the rays are those of batches that bring nothing."""
    outside = np.memmap(tmp_path / "images", np.uint8, "w+", shape=IMAGES.shape)
    outside[:] = IMAGES
    bare = rays_of(9, FRAMES, PIXELS, batch, 1, page=page)
    for images in (IMAGES, outside):
        layers = {"images": images, "masks": MASKS}
        found = ray_batches(FRAMES, PIXELS, batch, 1, layers=layers, page=page)
        for rays, one in zip(bare, found, strict=False):
            np.testing.assert_array_equal(one.rays, rays)
            for (frame, pixel), rgb, mask in zip(
                rays, one.layers["images"], one.layers["masks"], strict=True
            ):
                at = frame, pixel // SIZE[1], pixel % SIZE[1]
                assert rgb.tolist() == IMAGES[at].tolist() and mask == MASKS[at]
            assert one.layers["images"].dtype == np.uint8


def test_a_page_is_of_frames_from_all_over_and_others_each_time():
    frames = np.arange(60)
    rays = rays_of(24, frames, 4, 20, 0, page=20)[..., 0].reshape(2, 3, 80)
    pages = [[set(page.tolist()) for page in epoch] for epoch in rays]
    assert [len(page) for epoch in pages for page in epoch] == [20] * 6
    assert set.union(*pages[0]) == set.union(*pages[1]) == set(frames.tolist())
    assert pages[0] != pages[1]
    for page in pages[0]:
        assert min(page) < 20 and max(page) >= 40


def test_one_page_at_a_time_is_in_memory(tmp_path):
    """Its frames, 3 bytes a ray, and its order, 4; not those of the whole clip."""
    shape = 64, 32, 32, 3
    images = np.memmap(tmp_path / "images", np.uint8, "w+", shape=shape)
    page = 7 * 8 * 32 * 32
    batches = ray_batches(
        np.arange(64), 32 * 32, 64, 0, layers={"images": images}, page=8
    )
    next(batches)
    tracemalloc.start()
    try:
        for _ in itertools.islice(batches, 1024):  # An epoch, to the next one's start.
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert page < peak < 1.3 * page


def test_rays_of_a_clip_are_ordered_in_four_bytes_each():
    tracemalloc.start()
    try:
        next(ray_batches(np.arange(64), 32 * 32, 64, 0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * 4 * 64 * 32 * 32


def test_steps_of_a_block_are_the_next_ones():
    layers = {"images": IMAGES}
    source = ray_batches(FRAMES, PIXELS, 18, 3, layers=layers)
    blocks = [field_batches.next_steps(source, 3) for _ in range(2)]
    assert blocks[1].rays.shape == (3, 18, 2)
    assert blocks[1].layers["images"].shape == (3, 18, 3)
    expected = list(itertools.islice(ray_batches(FRAMES, PIXELS, 18, 3), 6))
    for k in range(3):
        np.testing.assert_array_equal(blocks[1].rays[k], expected[3 + k].rays)


def scene() -> FieldScene:
    ones = np.ones(8, np.float32)
    camera = Camera(np.tile(np.eye(3, dtype=np.float32), (8, 1, 1)), np.eye(4))
    order = np.arange(8, dtype=np.int32)
    return FieldScene(IMAGES, camera, ones, ones, order, order)


def test_what_is_seen_is_the_same_from_the_devices_as_from_the_host():
    whole = scene()
    layers = field_batches.pixel_layers(whole)
    assert layers == {"images": IMAGES}
    batch = next(ray_batches(FRAMES, PIXELS, 50, 0, layers=layers))
    bare = RayBatch(batch.rays)
    without = field_batches.without_pixels(whole)
    assert without.images is None and without.size_hw == whole.size_hw == SIZE
    assert not field_batches.pixel_layers(without)
    found = field_batches.seen(without, batch, "images")
    np.testing.assert_array_equal(found, field_batches.seen(whole, bare, "images"))
    np.testing.assert_allclose(found, batch.layers["images"] / 255, rtol=1e-6)
