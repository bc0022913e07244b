"""A trained model as one file that runs without torch."""

from .files import detector_to_onnx, to_onnx
from .int8 import to_int8

__all__ = ['detector_to_onnx', 'to_int8', 'to_onnx']
