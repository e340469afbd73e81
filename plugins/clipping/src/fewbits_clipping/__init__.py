"""Cuts outliers of activations and weights off before they are quantized."""
