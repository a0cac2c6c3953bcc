"""Jobs: tie a method to the launcher and the training loop."""
