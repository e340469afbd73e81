"""fewbits mixed-precision: bits for each layer, by what it costs at the output."""
