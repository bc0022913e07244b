"""Keypoints to heatmaps and back. Importing this module registers the codec."""

from .codec import MultiLevelHeatmap
from .decode import decode_heatmaps
from .render import HeatmapRenderer

__all__ = ['HeatmapRenderer', 'MultiLevelHeatmap', 'decode_heatmaps']
