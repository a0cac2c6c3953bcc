"""Metrics: accumulators of counts with update, merge and compute."""
