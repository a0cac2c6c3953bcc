"""Clips for decomposition: one place, one thing that is carried about, an arm (host).

The wearer stands before a furnished counter or table; the arm is in view most of the
time, a thing is picked up, carried, turned and put elsewhere, twice or more; all else
rests. Scripts are drawn until that holds.
"""

import numpy as np

from egojax.data.world import objects, script, state
from egojax.data.world.benchmark import seen_by_boxes
from egojax.data.world.clip import make_clip
from egojax.data.world.plan import Conflict, Visit
from egojax.data.world.room import make_room
from egojax.data.world.state import World
from egojax.errors import UsageError
from egojax.types import Clip

LENGTH = 64  # Frames of a clip:
STEP, FPS = 3, 30.0  # every third of the script's.
NUM_FRAMES = LENGTH * STEP
STATION = 1  # Where no drawer is.
CARRIED = ("kettle", "teapot", "pan", "pot", "bowl")
NUM_OBJECTS = 16
HANDLINGS = 2  # At least.
SEEN = 0.6  # Of frames, in which the thing is in view, at least.
MAX_TRIES = 300


def handling_world(seed: int) -> World:
    """The world of a seed."""
    rng = np.random.default_rng([seed, 21])
    room = make_room(rng)
    models = state.draw_models(rng, NUM_OBJECTS - 1, 0)
    models.append(objects.build(str(rng.choice(CARRIED)), rng))
    thing = NUM_OBJECTS - 1
    stations = [k % len(room.stations) for k in range(thing)] + [STATION]
    extents = np.stack([m.shape.extent for m in models]).astype(float)
    for attempt in range(MAX_TRIES):
        try:
            story = script.make_script(
                np.random.default_rng([seed, 22, attempt]),
                room,
                models,
                stations,
                NUM_FRAMES,
                FPS,
                visits=[Visit(STATION, 0, NUM_FRAMES)],
                handled=[thing],
            )
        except Conflict:
            continue
        moving = story.motion[:, thing] == 2
        times = np.count_nonzero(moving[1:] & ~moving[:-1])
        seen = seen_by_boxes(story.w2c, story.object_poses, extents, story.shut_in)
        if times >= HANDLINGS and seen[:, thing].mean() >= SEEN:
            return state.assemble(seed, FPS, room, models, story)
    raise UsageError(f"handling world {seed}: no script of {MAX_TRIES} fits")


def handling_clip(seed: int, size_hw: tuple[int, int] = (256, 456)) -> Clip:
    """The clip of a seed, truth included: 64 frames, ten a second."""
    clip = make_clip(handling_world(seed), size_hw=size_hw)
    frames = range(0, NUM_FRAMES, STEP)
    return clip.select(frames).replace(fps=FPS / STEP)
