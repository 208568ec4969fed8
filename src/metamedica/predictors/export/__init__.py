"""A predictor as one ONNX file, for places without PyTorch: what it computes of new cases, with all that it learned as constants."""
