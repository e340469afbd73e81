"""fewbits vision: pictures with labels of every kind, and what measures detection and segmentation."""
