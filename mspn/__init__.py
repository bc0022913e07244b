"""The light half of MSPN: pictures, drawings and the command `mspn`, without torch.

Nothing here imports torch, MMEngine, MMCV, MMDetection or MMPose when it is imported.
"""

from .errors import InputError
from .version import __version__

__all__ = ['InputError', '__version__']
