"""Networks: flax.nnx modules and their frozen configs."""
