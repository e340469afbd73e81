"""Tiled squeeze-and-excite: channel attention that does not wait for the whole map."""
