"""Inference on images and boxes: what a service calls."""

from .people import infer_people

__all__ = ['infer_people']
