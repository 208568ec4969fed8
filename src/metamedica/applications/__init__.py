"""One application a file; takes a model or predictor as an argument."""
