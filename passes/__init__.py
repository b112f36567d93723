"""Graph passes that rewrite a quantized ONNX model into `fastep` nodes.

Depends on onnx, onnx-ir and numpy alone. Importing this package imports none of them: take what you need from its
modules, `passes.pipeline.convert_model` first of all.
"""
