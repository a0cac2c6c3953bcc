"""The wearer's right arm: rigid links, posed by two-bone inverse kinematics (host).

Link frames: x runs along the bone, z is the back of the hand. Links 0 and 1 are upper
arm and forearm, 2 the palm, then three bones for each of five fingers.
"""

import numpy as np

from egojax.data.world import shapes
from egojax.data.world.shapes import Material, Shape

UPPER, FORE, PALM = 0.30, 0.26, 0.085
# Thumb, index, middle, ring, little: root in the palm frame, yaw, lengths, radius.
FINGERS = (
    ((0.02, 0.035, -0.01), 0.75, (0.042, 0.032, 0.026), 0.0105),
    ((0.086, 0.029, 0.0), 0.10, (0.044, 0.026, 0.021), 0.0088),
    ((0.089, 0.009, 0.002), 0.02, (0.048, 0.030, 0.022), 0.0090),
    ((0.086, -0.011, 0.0), -0.06, (0.045, 0.028, 0.021), 0.0085),
    ((0.078, -0.030, -0.003), -0.16, (0.035, 0.021, 0.019), 0.0075),
)
NUM_LINKS = 3 + 3 * len(FINGERS)


def arm_shapes(rng: np.random.Generator) -> tuple[Shape, ...]:
    """The mesh of every link in its own frame."""
    tone = np.array([0.62, 0.36, 0.25]) * rng.uniform(0.35, 1.1)
    skin = Material("skin", tuple(tone), tuple(tone * [1.0, 0.72, 0.66]), 0.18, 0.09)
    dye = rng.uniform(0.03, 0.3) * (0.6 + 0.6 * rng.random(3))  # Muted.
    wool = Material("knit", tuple(dye), tuple(0.45 * dye), 0.02, 0.12)
    nail = Material("plain", tuple(tone * [1.15, 1.05, 1.0]), tuple(tone), 0.5, 0.05)
    cuff = shapes.capsule((0.10, 0, 0), (0.15, 0, 0), (0.041, 0.043), wool, 14)
    bare = shapes.capsule((0.1, 0, 0), (FORE, 0, 0), (0.038, 0.026), skin, 14)
    links = [
        shapes.capsule((0, 0, 0), (UPPER, 0, 0), (0.055, 0.047), wool, 14),
        shapes.compose(
            [
                shapes.capsule((0, 0, 0), (0.12, 0, 0), (0.046, 0.042), wool, 14),
                cuff,
                bare,
            ]
        ),
        _palm(skin),
    ]
    for _, _, lengths, radius in FINGERS:
        for k, length in enumerate(lengths):
            wide = (radius * (1.06 - 0.08 * k), radius * (0.98 - 0.08 * k))
            bone = shapes.capsule((0, 0, 0), (length, 0, 0), wide, skin, 9)
            if k == 2:
                tip = shapes.extrude(
                    shapes.rounded(0.012, 0.009, 0.004), 0.003, nail, 0.001
                )
                bone = shapes.compose([bone, tip.moved((length, 0.0, 0.8 * wide[1]))])
            links.append(bone)
    return tuple(links)


def _palm(skin: Material) -> Shape:
    """A flattened, tapered block with round sides."""
    stations = np.array([-0.012, 0.0, 0.02, 0.05, 0.08, 0.096])
    wide = np.array([0.018, 0.025, 0.033, 0.041, 0.042, 0.032])
    thick = np.array([0.015, 0.019, 0.018, 0.016, 0.013, 0.008])
    a = np.arange(14) * (2 * np.pi / 14)
    rings = [
        np.stack([x + 0 * a, w * np.cos(a), t * np.sin(a)], -1)
        for x, w, t in zip(stations, wide, thick, strict=True)
    ]
    pad = shapes.capsule(
        (0.012, 0.026, -0.008), (0.045, 0.034, -0.012), (0.017, 0.012), skin, 9
    )
    return shapes.compose([shapes.loft(np.stack(rings), skin), pad])


def pose_arm(
    shoulder: np.ndarray,
    wrist: np.ndarray,
    forward: np.ndarray,
    back: np.ndarray,
    curl: np.ndarray,
) -> np.ndarray:
    """Poses of all links, (T, NUM_LINKS, 4, 4), link to world.

    Args:
      shoulder: (T, 3) where the arm begins; gives way when the wrist is out of reach.
      wrist: (T, 3)
      forward: (T, 3) unit, from the wrist to the knuckles.
      back: (T, 3) the side of the back of the hand.
      curl: (T,) 0 = fingers straight, 1 = fist.
    """
    reach = wrist - shoulder
    dist = np.linalg.norm(reach, axis=-1, keepdims=True)
    limit = 0.985 * (UPPER + FORE)
    shoulder = shoulder + reach * np.clip(
        1.0 - limit / np.maximum(dist, 1e-6), 0.0, None
    )
    dist = np.clip(dist, 0.12, limit)
    along = _unit(wrist - shoulder)
    # The elbow hangs: down and outwards from the line between shoulder and wrist.
    out = np.cross(along, np.array([0.0, 0.0, 1.0])) * 0.45 + np.array([0.0, 0.0, -1.0])
    pole = _unit(out - along * np.sum(out * along, -1, keepdims=True))
    cos = np.clip((UPPER**2 + dist**2 - FORE**2) / (2 * UPPER * dist), -1.0, 1.0)
    elbow = shoulder + UPPER * (cos * along + np.sqrt(1.0 - cos**2) * pole)
    palm = _frame(wrist, forward, back)
    upper = _frame(shoulder, elbow - shoulder, -pole)
    fore = _frame(wrist - FORE * _unit(wrist - elbow), wrist - elbow, back)
    links = [upper, fore, palm]
    for k, (root, yaw, lengths, _) in enumerate(FINGERS):
        links += _finger(palm, np.asarray(root), yaw, lengths, curl, is_thumb=k == 0)
    return np.stack(links, 1)


def _finger(
    palm: np.ndarray,
    root: np.ndarray,
    yaw: float,
    lengths: tuple[float, ...],
    curl: np.ndarray,
    *,
    is_thumb: bool,
) -> list[np.ndarray]:
    """The three bones of one finger; each bends towards the palm (about +y)."""
    at = np.broadcast_to(np.eye(4), palm.shape).copy()
    side = yaw * (1.0 - 0.6 * curl) if not is_thumb else yaw - 0.35 * curl
    at[:, :3, :3] = _turn_z(side)
    at[:, :3, 3] = root
    pose, bones = palm @ at, []
    for k, length in enumerate(lengths):
        bend = np.broadcast_to(np.eye(4), palm.shape).copy()
        full = (0.55, 0.6, 0.5)[k] if is_thumb else (1.0, 1.25, 0.8)[k]
        bend[:, :3, :3] = _turn_y(0.15 + full * curl)
        pose = pose @ bend
        bones.append(pose)
        step = np.eye(4)
        step[0, 3] = length
        pose = pose @ step
    return bones


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _frame(origin: np.ndarray, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Frames (T, 4, 4) with this x axis, and z as near to the one asked as can be."""
    x = _unit(x)
    y = _unit(np.cross(z, x))
    pose = np.broadcast_to(np.eye(4), (*x.shape[:-1], 4, 4)).copy()
    pose[..., :3, :3] = np.stack([x, y, np.cross(x, y)], -1)
    pose[..., :3, 3] = origin
    return pose


def _turn_z(angle: np.ndarray) -> np.ndarray:
    c, s, o = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    return np.stack([c, -s, o, s, c, o, o, o, o + 1.0], -1).reshape(*angle.shape, 3, 3)


def _turn_y(angle: np.ndarray) -> np.ndarray:
    c, s, o = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    return np.stack([c, o, s, o, o + 1.0, o, -s, o, c], -1).reshape(*angle.shape, 3, 3)
