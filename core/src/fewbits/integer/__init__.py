"""Networks in integers alone: rules that two implementations follow to the bit.

`rules` states them in numpy; `writer` writes a network for ONNX Runtime that computes the same
integers. Both read the network as `units`, and take their constants from `scales` and `tables`.
"""
