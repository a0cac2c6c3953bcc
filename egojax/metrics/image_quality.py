"""How near a rendered image is to the photograph: PSNR, SSIM, the head of LPIPS.

Images are (H, W, C) or (H, W): floats whose range of colours is [0, 1], or bytes, which
are divided by 255. A rendered image may leave that range; it is clipped where asked
alone.

Source: Wang et al. 2004 (SSIM); Zhang et al. 2018 (LPIPS); NeuralDiff,
evaluation/metrics.py; dichotomies/epic-fields-nvs-udos, evaluate_nvs.py.
"""

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import cv2
import jax
import numpy as np
from flax import struct

from egojax.errors import FrameError, UsageError
from egojax.metrics.frame_means import FrameMeans

SsimVariant = Literal["gauss11_valid", "gauss11_zero", "gauss_skimage", "uniform7"]
SSIM_VARIANTS: tuple[SsimVariant, ...] = get_args(SsimVariant)
_C1, _C2 = 0.01**2, 0.03**2  # Of images in [0, 1].
_LPIPS_EPS = 1e-10
_LPIPS_SHIFT = np.array([-0.030, -0.088, -0.188])
_LPIPS_SCALE = np.array([0.458, 0.448, 0.450])


class _Window(NamedTuple):
    """How a variant of SSIM averages."""

    taps: np.ndarray  # Along each axis; they sum to 1.
    covariance: float = 1.0  # Factor: n / (n - 1) for the sample covariance.
    is_padded: bool = False  # All positions, black beyond the rim; else the inner ones.


def _gaussian(radius: int, sigma: float) -> np.ndarray:
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    return taps / taps.sum()


# skimage reflects at the rim and cuts 5 pixels off, as far as the window reaches: what
# is left are the valid positions.
_WINDOWS: dict[str, _Window] = {
    "gauss11_valid": _Window(_gaussian(5, 1.5)),
    "gauss11_zero": _Window(_gaussian(5, 1.5), is_padded=True),
    "gauss_skimage": _Window(_gaussian(5, 1.5)),
    "uniform7": _Window(np.full(7, 1 / 7), covariance=49 / 48),
}


def psnr(
    pred: np.ndarray,
    target: np.ndarray,
    region: np.ndarray | None = None,
    *,
    clip: bool = False,
) -> float:
    """Peak signal-to-noise ratio in dB: -10 log10 of the mean squared error.

    Args:
      pred: See the module.
      target: The same size.
      region: Booleans (H, W): the pixels that count; None = all.
      clip: Clip both to [0, 1] first.

    Returns:
      +inf without any error, NaN for an empty region.

    Raises:
      UsageError: Sizes differ, or an array is no image.
      FrameError: A colour is not finite.
    """
    return _psnr(_squared_error(*_image_pair(pred, target, clip)), region)


def ssim(
    pred: np.ndarray,
    target: np.ndarray,
    variant: SsimVariant = "gauss11_valid",
    *,
    clip: bool = False,
) -> float:
    """Structural similarity, the mean over positions and channels.

    Args:
      pred: See the module.
      target: The same size.
      variant: "gauss11_valid": Gaussian of 11 x 11 pixels, sigma 1.5, where it lies
        inside (mip-NeRF, TensorFlow). "gauss11_zero": everywhere, black beyond the rim
        (3D Gaussian splatting). "gauss_skimage": scikit-image with `gaussian_weights`
        and the population covariance; it cuts off a rim of 5 pixels, so that it equals
        the first. "uniform7": scikit-image's default, a box of 7 x 7 pixels with the
        sample covariance, where it lies inside.
      clip: Clip both to [0, 1] first.

    Returns:
      NaN if the window lies inside nowhere.

    Raises:
      UsageError: Sizes differ, or an array is no image.
      FrameError: A colour is not finite.

    Differs: float64, where the first two were published in float32.
    """
    return _ssim(*_image_pair(pred, target, clip), variant)


def lpips_input(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) as LPIPS hands it to its backbone: float64, per channel."""
    return (2 * _checked_image("image", image) - 1 - _LPIPS_SHIFT) / _LPIPS_SCALE


def lpips_layers(
    pred_features: Sequence[np.ndarray],
    target_features: Sequence[np.ndarray],
    linear_weights: Sequence[np.ndarray],
) -> np.ndarray:
    """The distance of each layer's features; LPIPS is their sum.

    Args:
      pred_features: Per layer (H, W, C), of the backbone at `lpips_input` of the image.
      target_features: The same sizes.
      linear_weights: Per layer (C,), not negative.

    Returns:
      Float64 (layers,).

    Raises:
      UsageError: Layers or sizes differ, or a weight is negative.

    Source: richzhang/PerceptualSimilarity, lpips/lpips.py, v0.1.
    """
    numbers = [len(pred_features), len(target_features), len(linear_weights)]
    if len(set(numbers)) > 1:
        raise UsageError(
            f"LPIPS: {numbers[0]} and {numbers[1]} layers of features and "
            f"{numbers[2]} of weights, expected as many of each"
        )
    layers = zip(pred_features, target_features, linear_weights, strict=True)
    return np.array([_lpips_layer(k, *layer) for k, layer in enumerate(layers)])


@struct.dataclass
class ImageScores:
    """Means over images of the numbers of each image; a pytree."""

    means: FrameMeans
    num_images: Any
    regions: tuple[str, ...] = struct.field(pytree_node=False)
    ssim: tuple[SsimVariant, ...] = struct.field(pytree_node=False)
    clip: bool = struct.field(pytree_node=False)
    required: str | None = struct.field(pytree_node=False)

    @classmethod
    def empty(
        cls,
        regions: tuple[str, ...] = ("static", "dynamic"),
        ssim: tuple[SsimVariant, ...] = ("gauss11_valid",),
        *,
        clip: bool = False,
        required: str | None = None,
    ) -> "ImageScores":
        """No image yet.

        Args:
          regions: Names of the regions with a PSNR of their own.
          ssim: The variants to compute.
          clip: Clip images to [0, 1] first.
          required: An image whose region of this name is empty does not count at all.
        """
        if unknown := set(ssim) - set(SSIM_VARIANTS):
            raise ValueError(f"SSIM {sorted(unknown)}; there are {SSIM_VARIANTS}")
        names = (
            "psnr",
            *(f"psnr_{region}" for region in regions),
            *(f"ssim_{variant}" for variant in ssim),
            "lpips",
        )
        return cls(
            FrameMeans.empty(names), 0, tuple(regions), tuple(ssim), clip, required
        )

    @classmethod
    def epic_fields(cls) -> "ImageScores":
        """Dynamic new-view synthesis of EPIC Fields: PSNR of clipped images.

        Frames inside actions are given both regions, and those without any foreground
        are left out, as in the benchmark's code; other frames are given no region.

        Differs: a frame that is all foreground has no PSNR of the background, where the
        official one becomes NaN, and so does the benchmark.
        """
        regions = ("foreground", "background")
        return cls.empty(regions, (), clip=True, required="foreground")

    def update(
        self,
        pred: np.ndarray,
        target: np.ndarray,
        regions: Mapping[str, np.ndarray] | None = None,
        *,
        lpips: float = float("nan"),
    ) -> "ImageScores":
        """Adds one image.

        Args:
          pred: See the module.
          target: The same size.
          regions: Name to booleans (H, W). A region that is empty or not given does not
            count in its mean.
          lpips: Of this image, by `lpips_layers`; NaN where there is no backbone.

        Raises:
          UsageError: Sizes differ, or an array is no image.
          FrameError: A colour is not finite.
          ValueError: A region of another name.
        """
        regions = regions or {}
        pair = _image_pair(pred, target, self.clip)
        if self.required in regions and not np.any(regions[self.required]):
            return self
        error = _squared_error(*pair)
        values = {"psnr": _psnr(error, None), "lpips": lpips}
        values |= {f"psnr_{name}": _psnr(error, at) for name, at in regions.items()}
        values |= {f"ssim_{variant}": _ssim(*pair, variant) for variant in self.ssim}
        return dataclasses.replace(
            self, means=self.means.update(values), num_images=self.num_images + 1
        )

    def merge(self, other: "ImageScores") -> "ImageScores":
        """The images of both, which have the same settings."""
        return jax.tree.map(operator.add, self, other)

    def compute(self) -> dict[str, float]:
        """Means over images, and `num_images`; NaN without any.

        `psnr`, `psnr_static` and so on per region, `ssim_gauss11_valid` and so on per
        variant, and `lpips`, NaN where it could not be computed. An image without any
        error makes a mean of PSNR infinite.
        """
        return {**self.means.compute(), "num_images": int(self.num_images)}


def _image_pair(
    pred: np.ndarray, target: np.ndarray, clip: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (H, W, C)."""
    if np.shape(pred) != np.shape(target):
        raise UsageError(
            f"images differ in size: predicted {np.shape(pred)}, "
            f"expected {np.shape(target)} as the target"
        )
    pair = _checked_image("prediction", pred), _checked_image("target", target)
    return (np.clip(pair[0], 0, 1), np.clip(pair[1], 0, 1)) if clip else pair


def _checked_image(side: str, image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim not in (2, 3) or not image.size:
        raise UsageError(f"the {side} is {image.shape}, expected (H, W, C) or (H, W)")
    if image.dtype.kind in "iub" and image.dtype != np.uint8:
        raise UsageError(
            f"the {side} is {image.dtype}, expected floats in [0, 1] or bytes"
        )
    out = image.astype(np.float64)
    if image.dtype == np.uint8:
        out /= 255
    if not np.isfinite(out).all():
        raise FrameError(
            f"the {side} has {np.count_nonzero(~np.isfinite(out))} colours that are "
            "not finite"
        )
    return out.reshape(*image.shape[:2], -1)


def _squared_error(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Per pixel, the mean over channels, (H, W)."""
    return np.square(pred - target).mean(axis=-1)


def _psnr(squared_error: np.ndarray, region: np.ndarray | None) -> float:
    if region is not None:
        region = np.asarray(region, bool)
        if region.shape != squared_error.shape:
            raise UsageError(
                f"the region is {region.shape}, expected {squared_error.shape} as the "
                "image"
            )
        squared_error = squared_error[region]
    if not squared_error.size:
        return float("nan")
    mse = float(squared_error.mean())
    return float(-10 * np.log10(mse)) if mse > 0 else float("inf")


def _ssim(x: np.ndarray, y: np.ndarray, variant: str) -> float:
    if variant not in _WINDOWS:
        raise ValueError(f"SSIM {variant!r}; there are {SSIM_VARIANTS}")
    window = _WINDOWS[variant]
    if not window.is_padded and min(x.shape[:2]) < len(window.taps):
        return float("nan")
    # A channel at a time stays in the cache.
    planes = zip(np.moveaxis(x, -1, 0), np.moveaxis(y, -1, 0), strict=True)
    return float(np.mean([_ssim_of_plane(*plane, window) for plane in planes]))


def _ssim_of_plane(x: np.ndarray, y: np.ndarray, window: _Window) -> float:
    mean_x, mean_y = _averaged(x, window), _averaged(y, window)
    power, mixed = mean_x**2 + mean_y**2, mean_x * mean_y
    # The two variances occur as their sum alone.
    variance = window.covariance * (_averaged(x * x + y * y, window) - power)
    covariance = window.covariance * (_averaged(x * y, window) - mixed)
    luminance = (2 * mixed + _C1) / (power + _C1)
    return float(np.mean(luminance * (2 * covariance + _C2) / (variance + _C2)))


def _averaged(plane: np.ndarray, window: _Window) -> np.ndarray:
    taps = window.taps
    means = cv2.sepFilter2D(plane, -1, taps, taps, borderType=cv2.BORDER_CONSTANT)
    rim = 0 if window.is_padded else len(taps) // 2
    return means[rim : means.shape[0] - rim, rim : means.shape[1] - rim]


def _lpips_layer(
    layer: int, pred: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> float:
    pred, target, weights = (np.asarray(a, np.float64) for a in (pred, target, weights))
    if pred.shape != target.shape or pred.shape[2:] != weights.shape:
        raise UsageError(
            f"LPIPS, layer {layer}: features {pred.shape} and {target.shape} with "
            f"weights {weights.shape}, expected (H, W, C) twice and (C,)"
        )
    if weights.min(initial=0) < 0:
        raise UsageError(
            f"LPIPS, layer {layer}: weight {weights.min()}, expected none below 0"
        )
    delta = _unit_length(pred) - _unit_length(target)
    return float(np.mean(delta**2 @ weights))


def _unit_length(features: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / (norm + _LPIPS_EPS)
