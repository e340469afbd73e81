"""Equalization: rescales channels in full precision so that one scale fits them all."""
