"""Inference on images and boxes: what a service calls."""

from .predictor import Item, PosePredictor, infer_people, pose_of

__all__ = ['Item', 'PosePredictor', 'infer_people', 'pose_of']
