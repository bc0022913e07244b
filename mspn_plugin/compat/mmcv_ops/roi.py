"""RoIAlign and RoIPool, forward and backward.

Shapes: B images, C channels, h and w the size of the feature map, R regions ``(image index, x1, y1,
x2, y2)`` in pixels of the image, PH and PW the pooled size. `spatial_scale` brings image pixels to
cells of the feature map.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional
from torchvision import ops

from ._tensors import replay_gradients, widen

_MAX, _AVERAGE = 0, 1


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Samples every region on a grid and pools the samples of each bin.

    Args:
        input: (B, C, h, w).
        rois: (R, 5).
        output: (R, C, PH, PW), filled in place.
        argmax_y: As `output` in mode 0, else empty. Filled with the y of the greatest sample in
            cells of the feature map; -1 in the bins of a region without area.
        argmax_x: The same for x.
        aligned_height: PH.
        aligned_width: PW.
        spatial_scale: Cells per image pixel.
        sampling_ratio: Samples per bin and direction; 0: about one per cell.
        pool_mode: 0 takes the maximum of a bin, 1 the average.
        aligned: Whether the centre of cell 0 lies at 0.5 (else at 0, and no region is smaller than
            one cell).
    """
    features = widen(input)
    rois = rois.to(features.dtype)
    pooled = (aligned_height, aligned_width)
    if pool_mode == _AVERAGE:
        output.copy_(ops.roi_align(features, rois, pooled, spatial_scale, sampling_ratio, aligned))
        return
    output.zero_()
    argmax_y.fill_(-1)
    argmax_x.fill_(-1)
    start, size = _extent(rois, spatial_scale, aligned)
    for chosen, (rows, columns) in _by_grid(size, pooled, sampling_ratio):
        # With one sample per bin and a finer grid the average is the sample itself.
        grid = (aligned_height * rows, aligned_width * columns)
        samples = ops.roi_align(features, rois[chosen], grid, spatial_scale, 1, aligned)
        greatest, index = functional.max_pool2d(samples, (rows, columns), return_indices=True)
        step = (size[chosen] / size.new_tensor(grid))[:, None, None, None]
        origin = start[chosen][:, None, None, None]
        output[chosen] = greatest.to(output.dtype)
        y = origin[..., 0] + (index // grid[1] + 0.5) * step[..., 0]
        x = origin[..., 1] + (index % grid[1] + 0.5) * step[..., 1]
        argmax_y[chosen] = y.to(argmax_y.dtype)
        argmax_x[chosen] = x.to(argmax_x.dtype)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Adds the gradient to `grad_input` (B, C, h, w), which mmcv hands over filled with zeros."""
    if pool_mode == _AVERAGE:
        zeros = torch.zeros_like(grad_input, dtype=widen(grad_output).dtype)
        boxes = rois.to(zeros.dtype)
        pooled = (aligned_height, aligned_width)
        # The average is linear in the features, so the features themselves do not matter.
        (gradient,) = replay_gradients(
            lambda x: ops.roi_align(x, boxes, pooled, spatial_scale, sampling_ratio, aligned),
            (zeros,),
            grad_output=grad_output,
        )
        grad_input.add_(gradient)
        return
    height, width = grad_input.shape[-2:]
    y, x = widen(argmax_y), widen(argmax_x)
    inside = (y != -1) & (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    gradient = torch.where(inside, widen(grad_output), 0)
    total = grad_input.new_zeros(grad_input.shape, dtype=gradient.dtype)
    for row, row_weight in _neighbours(y, height):
        for column, column_weight in _neighbours(x, width):
            _scatter(total, rois, row * width + column, gradient * row_weight * column_weight)
    grad_input.add_(total)


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Takes the maximum of the cells that each bin touches.

    torchvision rounds the corners of a region to whole cells and mmcv does not, hence plain torch.

    Args:
        input: (B, C, h, w).
        rois: (R, 5); x2 and y2 name the last pixel inside.
        output: (R, C, PH, PW), filled in place; 0 in empty bins.
        argmax: int32 as `output`, filled with ``row * w + column`` of the maximum; -1 in empty
            bins.
        pooled_height: PH.
        pooled_width: PW.
        spatial_scale: Cells per image pixel.
    """
    height, width = input.shape[-2:]
    boxes = widen(rois)
    low = boxes[:, 1:3] * spatial_scale
    high = (boxes[:, 3:5] + 1) * spatial_scale
    valid = (high > low).all(1)
    columns = _bins(low[:, 0], high[:, 0], pooled_width, width).tolist()
    rows = _bins(low[:, 1], high[:, 1], pooled_height, height).tolist()
    images = rois[:, 0].long().tolist()
    output.zero_()
    argmax.fill_(-1)
    for region in valid.nonzero()[:, 0].tolist():
        features = input[images[region]]
        for i, (top, bottom) in enumerate(rows[region]):
            if bottom <= top:
                continue
            # First the best row of every column, then the best of these columns in every bin.
            by_column, row = features[:, top:bottom].max(1)
            for j, (left, right) in enumerate(columns[region]):
                if right <= left:
                    continue
                value, column = by_column[:, left:right].max(1)
                column = column + left
                best_row = row.gather(1, column[:, None])[:, 0] + top
                output[region, :, i, j] = value
                argmax[region, :, i, j] = (best_row * width + column).to(argmax.dtype)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Adds the gradient of each bin to the cell of `grad_input` (B, C, h, w) it came from."""
    gradient = torch.where(argmax >= 0, widen(grad_output), 0)
    total = grad_input.new_zeros(grad_input.shape, dtype=gradient.dtype)
    _scatter(total, rois, argmax.clamp(min=0).long(), gradient)
    grad_input.add_(total)


def _extent(rois: Tensor, spatial_scale: float, aligned: bool) -> tuple[Tensor, Tensor]:
    """Returns start and size (R, 2) of each region as (y, x) in cells, by mmcv's arithmetic."""
    shift = 0.5 if aligned else 0.0
    start = rois[:, [2, 1]] * spatial_scale - shift
    end = rois[:, [4, 3]] * spatial_scale - shift
    size = end - start
    return start, size if aligned else size.clamp(min=1)


def _by_grid(
    size: Tensor, pooled: tuple[int, int], sampling_ratio: int
) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Yields the regions that have the same number of samples per bin, and that number (y, x)."""
    if sampling_ratio > 0:
        yield torch.arange(len(size), device=size.device), (sampling_ratio, sampling_ratio)
        return
    counts = (size / size.new_tensor(pooled)).ceil().long()
    kinds, kind_of = counts.unique(dim=0, return_inverse=True)
    for kind, (rows, columns) in enumerate(kinds.tolist()):
        if rows > 0 and columns > 0:
            yield (kind_of == kind).nonzero()[:, 0], (rows, columns)


def _neighbours(position: Tensor, length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields index and weight of the two cells on either side of a position along one axis."""
    position = position.clamp(0, length - 1)
    lower = position.floor()
    yield lower.long(), 1 - (position - lower)
    yield (lower + 1).clamp(max=length - 1).long(), position - lower


def _bins(low: Tensor, high: Tensor, count: int, length: int) -> Tensor:
    """Returns the cells (R, count, 2) that each bin of a region touches: first, last + 1."""
    steps = torch.arange(count + 1, device=low.device, dtype=low.dtype)
    edges = steps * ((high - low) / count)[:, None] + low[:, None]
    first, end = edges[:, :-1].floor(), edges[:, 1:].ceil()
    return torch.stack((first, end), -1).clamp(0, length).long()


def _scatter(total: Tensor, rois: Tensor, cells: Tensor, values: Tensor) -> None:
    """Adds values (R, C, PH, PW) to `total` (B, C, h, w) at cells ``row * w + column``."""
    channels, height, width = total.shape[1:]
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    index = plane[:, :, None, None] * (height * width) + cells
    total.view(-1).index_add_(0, index.flatten(), values.flatten())
