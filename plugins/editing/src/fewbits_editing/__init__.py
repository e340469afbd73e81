"""fewbits editing: network edits at its ends: normalization, input conversion, output activation."""
