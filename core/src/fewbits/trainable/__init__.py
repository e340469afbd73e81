"""A network in torch, quantized as the emulator quantizes it, with everything open to training.

Nothing here is imported until a step asks for it, and the core does not depend on torch:
`needed.torch_for` says what to install where it is missing.
"""
