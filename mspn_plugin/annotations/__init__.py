"""Checks of a COCO keypoint data set before a long run: `tools/check_dataset.py`.

`images`, `people` and `skeleton` look at what is written, `decoding` at the image files, and
`dataset` asks all of them and tallies the `problems`.
"""

from .check import check_dataset
from .problems import Problem, Tally

__all__ = ['Problem', 'Tally', 'check_dataset']
