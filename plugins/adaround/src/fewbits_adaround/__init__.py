"""fewbits adaround: adaptive rounding: each weight up or down, learnt layer by layer."""
