"""Networks with all that comes before and after them, as one graph of tensors.

Shapes: B batch, N people, K keypoints, P places of a detector's grid, h and w the input's size.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import nms

from mspn.errors import InputError

from ..heatmaps.decode import highest_cells, margin_of, refine_peaks
from ..models.estimator import MSPNPoseEstimator
from ..models.fused import fused


class Normalise(nn.Module):
    """From pixels ``(B, h, w, 3)`` BGR to what a model's preprocessor gives, ``(B, 3, h, w)``."""

    def __init__(self, preprocessor: Any) -> None:
        super().__init__()
        self.swap = preprocessor._channel_conversion
        self.mean = nn.Buffer(preprocessor.mean.clone())
        self.std = nn.Buffer(preprocessor.std.clone())

    def forward(self, pixels: Tensor) -> Tensor:
        """Sorts the channels as the model wants them, and scales them."""
        images = pixels.permute(0, 3, 1, 2).float()
        return ((images.flip(1) if self.swap else images) - self.mean) / self.std


class PoseGraph(nn.Module):
    """From crops ``(B, h, w, 3)`` uint8 BGR to keypoints ``(B, K, 2)`` and scores ``(B, K)``.

    Keypoints are in pixels of the crop. Inside are normalisation, network, flip test, blur, peak
    search and refinement.

    Args:
        model: An `MSPNPoseEstimator` in evaluation mode, as ``init_model`` makes it.
        flip_test: Whether to average with the mirrored crop.
    """

    def __init__(self, model: MSPNPoseEstimator, *, flip_test: bool) -> None:
        super().__init__()
        network: Any = fused(model)
        self.backbone, self.neck, self.head = network.backbone, network.neck, network.head
        self.normalise = Normalise(network.data_preprocessor)
        self.flip_test, self.codec = flip_test, network.head.decoder
        meta: Any = model.dataset_meta
        self.partners = nn.Buffer(torch.tensor(meta['flip_indices']))
        self.cell_size = nn.Buffer(torch.tensor(self.codec.cell_size, dtype=torch.float32))
        kernel, self.second = self.codec.decode_kernel_size, self.codec.refine == 'second_peak'
        self.margin = margin_of(kernel) if self.second else 0
        width, height = self.codec.heatmap_size
        self.across = nn.Buffer(_blur_matrix(width, kernel, self.margin))
        self.down = nn.Buffer(_blur_matrix(height, kernel, self.margin))
        settings = model.test_cfg
        usual = settings.get('flip_mode', 'heatmap') == 'heatmap'
        if flip_test and not (usual and not settings.get('shift_heatmap', False)):
            raise InputError(
                'the flip test of this config shifts heatmaps or has another mode than heatmap, '
                'which cannot be exported; export without it (--no-flip-test)'
            )

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Finds the pose in every crop."""
        images = self.normalise(crops)
        if self.flip_test:
            both = self._heatmaps(torch.cat([images, images.flip(-1)]))
            count = images.shape[0]  # len() would make it a constant of the graph
            straight, mirrored = both[:count], both[count:]
            heatmaps = (straight + mirrored.flip(-1)[:, self.partners]) * 0.5
        else:
            heatmaps = self._heatmaps(images)
        blurred = (heatmaps @ self.across).transpose(2, 3) @ self.down
        index, more = highest_cells(blurred.transpose(2, 3), second=self.second)
        decoded = refine_peaks(heatmaps, index, more, refine=self.codec.refine, margin=self.margin)
        return decoded[..., :2] * self.cell_size, decoded[..., 2]

    def _heatmaps(self, images: Tensor) -> Tensor:
        """Of the last unit, which is all that the neck passes on in evaluation mode."""
        return self.head(self.neck(self.backbone(images)))[-1][-1]


def _blur_matrix(size: int, kernel_size: int, margin: int) -> Tensor:
    """Blurs rows of so many cells when they are multiplied with it: ``(size, size + 2 margin)``.

    Of all ways to blur, this one takes ONNX Runtime a fifth of the time.
    """
    taps = cv2.getGaussianKernel(kernel_size, 0)[:, 0]
    cells, places = np.arange(size)[:, None], np.arange(size + 2 * margin)[None] - margin
    tap = cells - places + kernel_size // 2
    inside = (tap >= 0) & (tap < kernel_size)
    weights = np.where(inside, taps[tap.clip(0, kernel_size - 1)], 0)
    return torch.from_numpy(weights.astype(np.float32))


class ImageGraph(nn.Module):
    """From a picture ``(H, W, 3)`` uint8 BGR and boxes ``(N, 4)`` to keypoints in its pixels.

    The crops are cut out inside, by bilinear interpolation; OpenCV, which cuts them elsewhere,
    rounds its weights to 1/32 and the pixels to whole numbers.
    """

    def __init__(self, poses: PoseGraph, padding: tuple[float, float]) -> None:
        super().__init__()
        self.poses = poses
        self.size: tuple[int, int] = poses.codec.input_size
        self.padding = nn.Buffer(torch.tensor(padding, dtype=torch.float32))

    def forward(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Finds the pose in every box, x1 y1 x2 y2 float32."""
        width, height = self.size
        centre, size = (boxes[:, :2] + boxes[:, 2:]) * 0.5, boxes[:, 2:] - boxes[:, :2]
        size = size * self.padding
        wide = torch.maximum(size[:, 0], size[:, 1] * (width / height))
        size = torch.stack([wide, wide * (height / width)], dim=1)
        # For every pixel of a crop its place in the picture, as grid_sample counts: -1 to 1 from
        # the first pixel's centre to the last one's.
        ends = torch.tensor([image.shape[1] - 1, image.shape[0] - 1], device=boxes.device)
        axes = []
        for axis, count in enumerate((width, height)):
            steps = torch.arange(count, device=boxes.device) / count - 0.5
            places = centre[:, axis, None] + steps * size[:, axis, None]
            axes.append(places * 2 / ends[axis].clamp(min=1) - 1)
        x, y = axes[0][:, None].expand(-1, height, -1), axes[1][:, :, None].expand(-1, -1, width)
        # All crops below each other: so the picture is there once.
        grid = torch.stack([x, y], dim=3).reshape(1, -1, width, 2)
        picture = image.permute(2, 0, 1)[None].float()
        crops = nn.functional.grid_sample(picture, grid, align_corners=True)[0]
        crops = crops.permute(1, 2, 0).reshape(-1, height, width, 3)
        keypoints, scores = self.poses(crops)
        scale = (size / torch.tensor([width, height], device=boxes.device))[:, None]
        return keypoints * scale + (centre - 0.5 * size)[:, None], scores


class DetectorGraph(nn.Module):
    """From images ``(B, h, w, 3)`` uint8 BGR of the input's size to boxes of people.

    Gives boxes ``(N, 4)`` x1 y1 x2 y2 in pixels of the input, scores ``(N,)`` and the numbers of
    their images ``(N,)``, after non-maximum suppression.

    Args:
        model: A detector of MMDet's RTMDet family in evaluation mode.
        category: Index of the people among its categories.
        size: ``(w, h)`` of the input.
    """

    def __init__(self, model: Any, *, category: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = model.backbone, model.neck, model.bbox_head
        self.normalise = Normalise(model.data_preprocessor)
        self.category = category
        settings = model.test_cfg
        self.score_thr = float(settings.get('score_thr', 0.05))
        self.nms_thr = float(settings.nms.iou_threshold)
        self.ends, self.far = nn.Buffer(torch.tensor([*size, *size]).float()), 2.0 * max(size)
        strides = [stride[0] for stride in self.head.prior_generator.strides]
        sizes = [(size[1] // stride, size[0] // stride) for stride in strides]
        places = self.head.prior_generator.grid_priors(sizes, device='cpu')
        self.places = nn.Buffer(torch.cat(places)[:, :2])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Finds the people in every image."""
        scores, sides = self.head(self.neck(self.backbone(self.normalise(images))))
        score = torch.cat([level[:, self.category].flatten(1) for level in scores], 1).sigmoid()
        side = torch.cat([level.flatten(2) for level in sides], 2).permute(0, 2, 1)  # left, top, ..
        boxes = torch.cat([self.places - side[..., :2], self.places + side[..., 2:]], dim=2)
        # Cut off at the border, as MMDet does before it compares them.
        boxes = torch.minimum(boxes.clamp(min=0), self.ends)
        # All images at once: far apart, their boxes do not meet. Only the likely ones take part.
        number = torch.arange(boxes.shape[0])[:, None].expand_as(score).flatten()
        boxes, score = boxes.flatten(0, 1), score.flatten()
        likely = (score > self.score_thr).nonzero()[:, 0]
        boxes, score, number = boxes[likely], score[likely], number[likely]
        apart = boxes + (number * self.far)[:, None]
        kept = nms(apart, score, self.nms_thr)
        return boxes[kept], score[kept], number[kept]
