"""A small trained network with its data, and the command that takes it through the whole flow."""
