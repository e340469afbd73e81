"""fewbits vision: pictures with boxes and masks, and what measures who finds them."""
