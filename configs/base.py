"""Fields that every job has."""

import ml_collections


def run(job: str, seed: int = 0) -> ml_collections.ConfigDict:
    """Returns what the launcher itself reads: the job, the mode, the seed, devices."""
    config = ml_collections.ConfigDict()
    config.job = job
    config.mode = "predict"  # predict | eval | train | view | synthesize | convert
    config.seed = seed
    config.mesh = dict(
        data=-1,  # Devices that the batch is split over; -1 = all that there are.
        # Weights that are split, too, along their first axis, and not whole on each
        # device: a regular expression of their paths, such as _table$.
        shard="",
    )
    # Several hosts: the same command once on each, with its own index.
    config.hosts = dict(
        coordinator="",  # HOST:PORT of the first one | auto (Slurm, Open MPI, pods)
        count=1,  # Of processes in all; "auto" finds it, and the index.
        index=0,  # Of this one, from 0; the first writes for all.
    )
    # Reading: frames a chunk, frames read ahead.
    config.read = dict(chunk=16, ahead=2)
    # Where `view` listens.
    config.view = dict(host="127.0.0.1", port=8080)
    return config
