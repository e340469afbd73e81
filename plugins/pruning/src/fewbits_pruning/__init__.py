"""Pruning for fewbits: weights that may be zero, and channels that do nothing."""
