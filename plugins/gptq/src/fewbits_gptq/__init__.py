"""fewbits gptq: weights rounded in turn, each error taken up by the weights behind it."""
