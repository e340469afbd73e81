"""fewbits editing: edits at a network's ends, for inputs and outputs as a device has them."""
