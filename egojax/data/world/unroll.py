"""From a plan to arrays: the head, the hand, every pose at every frame (host)."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from egojax.data.world import body, head
from egojax.data.world.furniture import TOP
from egojax.data.world.plan import MAX_LEAN, PULL, Event, Plan, Visit, ease
from egojax.ops.camera import camera_centers


@dataclasses.dataclass(frozen=True)
class Script:
    """Everything that changes over time, as arrays."""

    w2c: np.ndarray  # float64 (T, 4, 4)
    object_poses: np.ndarray  # float64 (T, K, 4, 4), object to world.
    drawer_poses: np.ndarray  # float64 (T, 4, 4)
    arm_poses: np.ndarray  # float64 (T, L, 4, 4)
    motion: np.ndarray  # int8 (T, K): 0 at rest, 1 moved before, 2 moving.
    shut_in: np.ndarray  # bool (T, K): lies in the closed drawer.
    light: np.ndarray  # float32 (T, 2): strength of the window and of the lamp.


def head_path(plan: Plan, visits: Sequence[Visit], stand: np.ndarray) -> np.ndarray:
    """Looks about the station, follows what the hand does, sways and bobs."""
    rng, num_frames = plan.rng, len(stand)
    target, height = np.empty((num_frames, 3)), np.zeros(num_frames)
    for visit in visits:
        center = np.array(plan.room.stations[visit.station].target)
        t = visit.start
        while t < visit.stop:
            stop = min(visit.stop, t + plan.frames(rng.uniform(0.7, 1.5)))
            wander = rng.normal(0.0, 1.0, 3) * (0.16, 0.1, 0.05)
            wander = wander if visit.station != 1 else wander[[1, 0, 2]]
            target[t:stop] = center + wander
            t = stop
    held = _contact(plan)
    for event in plan.events:
        t0, _, _, t1 = event.times
        t0 = max(0, t0 - plan.frames(0.15))
        target[t0:t1] = 0.3 * target[t0:t1] + 0.7 * held(event)[t0:t1]
    gaze = head.follow(target, plan.fps, 0.36)
    height = head.EYE_HEIGHT + head.bobbing(stand, plan.fps)
    height += 0.02 * head.sway(rng, num_frames, plan.fps, 1)[:, 0]
    turn = head.sway(rng, num_frames, plan.fps, 3) * (0.05, 0.06, 0.06)
    lean = _lean(plan, stand)
    height -= 0.25 * np.linalg.norm(lean, axis=-1)
    return head.look_at(np.column_stack([stand + lean, height]), gaze, turn)


def _lean(plan: Plan, stand: np.ndarray) -> np.ndarray:
    """How far the head bends over the furniture for what is out of reach, (T, 2)."""
    lean, of = np.zeros_like(stand), _contact(plan)
    for event in plan.events:
        span = slice(event.times[0], event.times[2])
        to = of(event)[span, :2] - stand[span]
        dist = np.maximum(np.linalg.norm(to, axis=-1, keepdims=True), 1e-6)
        lean[span] = to / dist * np.clip(dist - 0.5, 0.0, MAX_LEAN)
    return head.follow(lean, plan.fps, 0.5)


def _contact(plan: Plan) -> Callable[[Event], np.ndarray]:
    """Where the hand touches what an event is about, (T, 3), still before and after."""
    opened = plan.opened[:, None] * PULL
    front = np.array(plan.room.drawer_floor.low) + np.array(plan.room.drawer_floor.high)
    handle = np.array([front[0] / 2, plan.room.half[1] + 0.10, TOP - 0.11])

    def of(event: Event) -> np.ndarray:
        _, grasp, release, _ = event.times
        if event.obj < 0:
            path = handle + opened
        else:
            path = (
                plan.positions[:, event.obj] + plan.inside[:, event.obj, None] * opened
            )
            c, s = np.cos(plan.yaw[:, event.obj]), np.sin(plan.yaw[:, event.obj])
            x, y, z = plan.models[event.obj].grip
            path = path + np.stack([c * x - s * y, s * x + c * y, z + 0 * c], -1)
        last = len(path) - 1
        return path[np.clip(np.arange(len(path)), min(grasp, last), min(release, last))]

    return of


def _hand(plan: Plan, w2c: np.ndarray) -> np.ndarray:
    """Poses of the arm's links over the script."""
    eye, fps = camera_centers(w2c), plan.fps
    ahead = head.follow(w2c[:, 2, :2], fps, 0.15)
    ahead = np.concatenate([ahead, np.zeros((len(ahead), 1))], -1)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=-1, keepdims=True), 1e-6)
    right, up = np.cross(ahead, [0.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0])
    shoulder = eye + 0.21 * right - 0.36 * up - 0.14 * ahead
    rest = shoulder - 0.5 * up + 0.08 * ahead
    weight, curl = np.zeros(len(eye)), np.full(len(eye), 0.35)
    wrist, palm_to = rest.copy(), rest + 0.1 * ahead - 0.1 * up
    of = _contact(plan)
    for event in plan.events:
        t0, grasp, release, t1 = (min(t, len(eye)) for t in event.times)
        contact = of(event)
        above = contact + 0.085 * up - 0.085 * ahead + 0.035 * right
        w = np.zeros(len(eye))
        w[t0:grasp] = ease(np.arange(grasp - t0), grasp - t0)
        w[grasp:release] = 1.0
        w[release:t1] = ease(np.arange(t1 - release), t1 - release)[::-1]
        is_first = (w >= weight)[:, None]
        arc = above + (np.sin(np.pi * w) * 0.06)[:, None] * up
        wrist = np.where(is_first, rest + w[:, None] * (arc - rest), wrist)
        palm_to = np.where(is_first, contact, palm_to)
        grip = np.where(
            (np.arange(len(eye)) >= grasp) & (np.arange(len(eye)) < release), 0.72, 0.3
        )
        curl = np.where(is_first[:, 0] & (w > 0), grip, curl)
        weight = np.maximum(weight, w)
    curl = head.follow(curl[:, None], fps, 0.1)[:, 0]
    forward = palm_to - wrist
    forward = np.where(weight[:, None] > 0, forward, ahead - 0.6 * up)
    return body.pose_arm(
        shoulder, wrist, forward, up + 0.35 * right + 0.15 * ahead, curl
    )


def unroll(plan: Plan, w2c: np.ndarray) -> Script:
    num_frames, count = plan.yaw.shape
    pull = plan.opened[:, None] * PULL
    at = plan.positions + plan.inside[..., None] * pull[:, None]
    c, s, o = np.cos(plan.yaw), np.sin(plan.yaw), np.zeros_like(plan.yaw)
    rot = np.stack([c, -s, o, s, c, o, o, o, o + 1.0], -1).reshape(
        num_frames, count, 3, 3
    )
    drawer = head.rigid(np.broadcast_to(np.eye(3), (num_frames, 3, 3)), pull)
    before = np.maximum.accumulate(plan.moving, axis=0)
    wave = head.sway(plan.rng, num_frames, plan.fps / 0.12, 1)[:, 0]
    dusk = 1.0 + 0.3 * wave
    switch = plan.rng.uniform(0.35, 0.75) * num_frames
    lamp_on = 0.5 + 0.5 * np.tanh(0.4 * (np.arange(num_frames) - switch))
    lamp = 0.55 + 0.6 * (lamp_on if plan.rng.random() < 0.5 else 1.0 - lamp_on)
    return Script(
        w2c=w2c,
        object_poses=head.rigid(rot, at),
        drawer_poses=drawer,
        arm_poses=_hand(plan, w2c),
        motion=np.where(plan.moving, 2, before).astype(np.int8),
        shut_in=plan.inside & (plan.opened[:, None] < 0.25),
        light=np.stack([dusk, lamp], -1).astype(np.float32),
    )
