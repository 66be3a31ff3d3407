"""The names of the export formats, known without what writes them."""

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "safetensors": ".safetensors"}  # by name
