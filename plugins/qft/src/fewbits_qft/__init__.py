"""fewbits qft: quantization-aware finetuning of every degree of freedom at once."""
