"""Training: loop, checkpoints, device mesh, logs; knows tasks by contract."""
