"""fewbits: quantize trained networks to 4, 8 and 16 bits."""

__version__ = "0.1.0"
