"""fewbits vision: pictures with boxes, and what measures the detectors that find them."""
