"""An independent reference in NumPy: each layer's formula, written down a second time.

It uses neither onnx, onnxruntime nor the handlers that build the graph, so that a mistake there is
not repeated here. A new layer type is a new function in a module of this package.
"""
