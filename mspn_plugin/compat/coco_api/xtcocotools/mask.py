"""Run-length masks; pycocotools has the same functions."""

from pycocotools.mask import area, decode, encode, frPyObjects, iou, merge, toBbox  # noqa: F401
