"""Poses from ONNX files: numpy, OpenCV and ONNX Runtime, and nothing else."""

from ..poses import People, Pose
from .detector import DetectorModel
from .pose import PoseModel
from .predictor import Predictor
from .shared import SharedPredictor

__all__ = ['DetectorModel', 'People', 'Pose', 'PoseModel', 'Predictor', 'SharedPredictor']
