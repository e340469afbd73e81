"""fewbits editing: edits at a network's ends: normalization, input conversion, output activation."""
