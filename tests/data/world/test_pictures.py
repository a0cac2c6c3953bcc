"""Pictures in a light that changes: as strong as asked, from the seed, in any order."""

import dataclasses

import numpy as np
import pytest

from egojax.data.world import pictures
from egojax.data.world.faults import Imperfections
from egojax.types import Camera, Clip, Source

SIZE_HW = (12, 16)
NUM_FRAMES = 300
EXPOSED = Imperfections(exposure_stops=0.3)
LIT = Imperfections(lamp=1.5)


@pytest.fixture(scope="module")
def frames() -> Source:
    image = np.random.default_rng(0).integers(20, 160, (*SIZE_HW, 3)).astype(np.uint8)
    return Source(lambda t: image, NUM_FRAMES)


@pytest.fixture(scope="module")
def truth() -> Clip:
    k = np.array([[8.0, 0, 8], [0, 8, 6], [0, 0, 1]])
    camera = Camera(k, np.eye(4), size_hw=SIZE_HW)
    depth = np.full(SIZE_HW, 2.0, np.float32)
    depth[:, :4] = np.inf  # Nothing is there; no lamp lights it.
    names = tuple(str(t) for t in range(NUM_FRAMES))
    return Clip("toy", names, SIZE_HW).replace(
        depth=Source(lambda t: depth, NUM_FRAMES),
        camera=Source(lambda t: camera, NUM_FRAMES),
    )


def gain(out: Source, frames: Source, t: int) -> np.ndarray:
    """By how much the linear light of frame t is multiplied, where it is not cut."""
    light, before = (x[t].astype(np.float64) ** 2.2 for x in (out, frames))
    return light / before


def test_without_faults_the_frames_are_the_same(frames, truth):
    assert pictures.faulty(frames, truth, Imperfections(), 0) is frames


def test_the_exposure_is_as_uneven_as_asked_and_alike_in_all_pixels(frames, truth):
    out = pictures.faulty(frames, truth, EXPOSED, 0)
    gains = np.array([gain(out, frames, t) for t in range(NUM_FRAMES)])
    stops = np.log2(np.median(gains, axis=(1, 2, 3)))
    # A mean of two draws between them: of sigma 0.3 there, of 0.21 in the middle.
    assert 0.15 < stops.std() < 0.4
    assert np.abs(np.diff(stops)).max() < 0.25  # It drifts.
    assert np.allclose(np.log2(gains).std(axis=(1, 2, 3)), 0.0, atol=0.03)


def test_a_lamp_goes_on_and_off_and_lights_what_is_near(frames, truth):
    out = pictures.faulty(frames, truth, LIT, 0)
    most = np.array([gain(out, frames, t).max() for t in range(NUM_FRAMES)])
    assert most[0] < 1.05 and most[-1] < 1.05
    on = gain(out, frames, NUM_FRAMES // 2)
    assert on.max() > 2.0
    warm = on.reshape(-1, 3)[on[..., 0].argmax()]
    assert warm[0] > warm[1] > warm[2]
    assert np.array_equal(out[NUM_FRAMES // 2][:, :4], frames[0][:, :4])


@pytest.mark.parametrize("faults", [EXPOSED, LIT])
def test_pictures_come_from_the_seed_in_any_order(frames, truth, faults):
    first, again, other = (pictures.faulty(frames, truth, faults, s) for s in (3, 3, 4))
    late = again[200]
    assert np.array_equal(first[100], again[100]) and np.array_equal(first[200], late)
    assert any(not np.array_equal(first[t], other[t]) for t in (60, 100, 150, 200))


def test_a_frame_that_is_not_there_stays_so(truth):
    gaps = Source(lambda t: None, NUM_FRAMES)
    faults = dataclasses.replace(EXPOSED, lamp=1.0)
    assert pictures.faulty(gaps, truth, faults, 0)[5] is None
