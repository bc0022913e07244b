"""The network, in the order of its data flow. Importing this module registers the components."""

from .backbone import MSPNBackbone
from .efficientnet_lite import EfficientNetLite
from .estimator import MSPNPoseEstimator
from .head import MultiStageHead
from .losses import OHKMMSELoss
from .neck import MSPNNeck

__all__ = ['EfficientNetLite', 'MSPNBackbone', 'MSPNNeck', 'MSPNPoseEstimator', 'MultiStageHead']
__all__ += ['OHKMMSELoss']
