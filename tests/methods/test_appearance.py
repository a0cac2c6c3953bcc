"""The weight-free descriptor: what changes it and what does not."""

import cv2
import numpy as np
import pytest

from egojax.methods import appearance


def picture(seed: int = 0, size_hw=(96, 128)) -> tuple[np.ndarray, np.ndarray]:
    """Four textured things of different colours on gray: a red checker, a green stripe
    pattern, a blue plain and a gray noise patch."""
    rng = np.random.default_rng(seed)
    frame = np.full((*size_hw, 3), 120, np.uint8)
    labels = np.zeros(size_hw, np.int32)
    y, x = np.mgrid[:32, :32]
    looks = {
        4: np.where((x // 4 + y // 4) % 2, 1.0, 0.6)[..., None] * [190, 60, 50],
        7: np.where(y // 3 % 2, 1.0, 0.5)[..., None] * [60, 170, 70],
        9: np.ones((32, 32, 1)) * [50, 70, 180],
        70_001: rng.uniform(60, 150, (32, 32, 1)) * [1.0, 1.0, 1.0],
    }
    for place, (number, look) in enumerate(looks.items()):
        top, left = 8 + 44 * (place // 2), 16 + 56 * (place % 2)
        frame[top : top + 32, left : left + 32] = look
        labels[top : top + 32, left : left + 32] = number
    return frame, labels


def gap(a, b) -> np.ndarray:
    """Squared distances of rows."""
    return ((a.values - b.values) ** 2).sum(1)


def apart(features) -> float:
    """The smallest squared distance of two different segments."""
    pairs = ((features.values[:, None] - features.values[None]) ** 2).sum(-1)
    return pairs[np.triu_indices(len(pairs), 1)].min()


def test_rows_are_of_unit_length_and_in_the_order_of_the_ids():
    found = appearance.describe(*picture())
    assert found.ids.tolist() == [4, 7, 9, 70_001]
    assert found.values.shape == (4, appearance.DIM)
    assert found.values.dtype == np.float32 and (found.values >= 0).all()
    np.testing.assert_allclose((found.values**2).sum(1), 1, rtol=1e-6)
    assert sum(appearance.WEIGHTS.values()) == pytest.approx(1)


def test_different_things_are_apart():
    assert apart(appearance.describe(*picture())) > 0.15


@pytest.mark.parametrize("gain", [0.6, 0.8, 1.25])
def test_a_change_of_light_matters_far_less_than_another_thing(gain):
    frame, labels = picture()
    before = appearance.describe(frame, labels)
    light = np.clip(frame * gain, 0, 255).astype(np.uint8)
    after = appearance.describe(light, labels)
    assert gap(before, after).max() < 0.1 * apart(before)


def test_place_and_ids_do_not_matter():
    frame, labels = picture()
    before = appearance.describe(frame, labels)
    renamed = np.where(labels > 0, labels + 3, 0)
    shifted = appearance.describe(np.roll(frame, 7, 1), np.roll(renamed, 7, 1))
    np.testing.assert_allclose(gap(before, shifted), 0, atol=1e-6)


@pytest.mark.parametrize("scale", [0.7, 1.6])
def test_size_matters_little(scale):
    frame, labels = picture(size_hw=(96, 128))
    size = (round(128 * scale), round(96 * scale))
    big = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    names = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    before = appearance.describe(frame, labels)
    assert gap(before, appearance.describe(big, names)).max() < 0.6 * apart(before)


def test_what_lies_around_the_mask_does_not_matter():
    frame, labels = picture()
    before = appearance.describe(frame, labels)
    other = frame.copy()
    other[labels == 0] = [120, 90, 150]
    assert gap(before, appearance.describe(other, labels)).max() < 0.02


def test_half_a_thing_looks_like_the_whole():
    frame, labels = picture()
    half = labels.copy()
    half[:, :32] = 0
    half[:, 72:88] = 0
    before = appearance.describe(frame, labels)
    assert gap(before, appearance.describe(frame, half)).max() < 0.5 * apart(before)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_tiny_segments_and_borders_stay_finite(size):
    frame, labels = picture()
    labels[:] = 0
    labels[: size[0], : size[1]] = 5
    labels[-1, -1] = 6
    found = appearance.describe(frame, labels)
    assert np.isfinite(found.values).all()
    np.testing.assert_allclose((found.values**2).sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_frames_stay_finite(level):
    frame, labels = picture()
    frame[:] = level
    assert np.isfinite(appearance.describe(frame, labels).values).all()


def test_a_segment_that_fills_the_frame_is_sampled_evenly():
    """Above the limit of pixels a sample stands for the whole."""
    rng = np.random.default_rng(3)
    frame = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
    labels = np.ones((240, 320), np.int32)
    halves = labels.copy()
    halves[:, 160:] = 2
    whole = appearance.describe(frame, labels)
    left = appearance.describe(frame, halves)
    assert gap(whole, left)[0] < 0.05


def test_a_frame_without_segments_has_no_rows():
    frame, labels = picture()
    found = appearance.describe(frame, np.zeros_like(labels))
    assert found.values.shape == (0, appearance.DIM) and len(found.ids) == 0


def test_frame_and_labels_of_two_sizes_are_refused():
    frame, labels = picture()
    with pytest.raises(ValueError, match="96, 128"):
        appearance.describe(frame[:-1], labels)


def test_a_real_object_stays_like_itself_over_a_clip(real_data):
    """PUMaVOS chair: closer to itself after 55 frames than to the wall."""
    from egojax.data import folder

    clip = folder.read_any(real_data / "pumavos_chair")
    first = appearance.describe(clip.frames[0], clip.labels[0])
    later = [appearance.describe(clip.frames[t], clip.labels[t]) for t in (20, 40, 55)]
    other = appearance.describe(clip.frames[0], np.roll(clip.labels[0], 150, 1))
    assert max(gap(first, row)[0] for row in later) < 0.3 * gap(first, other)[0]
