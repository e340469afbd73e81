"""A fewbits plugin to copy: clips outlying weights before they are quantized."""
