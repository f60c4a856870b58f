"""A model as ONNX graphs, which run in onnxruntime without a checkpoint."""
