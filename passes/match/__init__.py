"""What a pass looks for: constants, quantized weights, linears and their activations."""
