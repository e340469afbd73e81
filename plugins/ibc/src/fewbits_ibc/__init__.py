"""fewbits ibc: iterative bias correction, layer by layer."""
