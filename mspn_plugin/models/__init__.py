"""The network, in the order of its data flow. Importing this module registers the components."""

from .backbone import MSPNBackbone
from .estimator import MSPNPoseEstimator
from .head import MultiStageHead
from .losses import OHKMMSELoss
from .neck import MSPNNeck

__all__ = ['MSPNBackbone', 'MSPNNeck', 'MSPNPoseEstimator', 'MultiStageHead', 'OHKMMSELoss']
