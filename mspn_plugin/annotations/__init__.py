"""Label files: one reader and one checker for training, evaluation and `mspn check`."""

from .keypoint_file import check_dataset
from .problems import Problem, Tally

__all__ = ['Problem', 'Tally', 'check_dataset']
