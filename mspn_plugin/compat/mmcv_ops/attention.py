"""Multi-scale deformable attention (Zhu et al., Deformable DETR, 2020), forward and backward.

Shapes: B batch, Q queries, M heads, D channels per head, L levels, P sampling points, S the sum of
h * w over the levels. `im2col_step` concerns the memory of mmcv's kernel and means nothing here.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ._tensors import replay_gradients, widen


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Gathers the values around each query and returns their weighted sum.

    Args:
        value: (B, S, M, D), the cells of all levels one after another.
        value_spatial_shapes: (h, w) of each level, (L, 2), int64.
        value_level_start_index: Where each level starts in S, (L,), int64.
        sampling_locations: (x, y) in 0..1 of the level, (B, Q, M, L, P, 2). Outside counts as 0.
        attention_weights: (B, Q, M, L, P).
        im2col_step: Ignored.

    Returns:
        (B, Q, M * D).
    """
    levels = _levels(value_spatial_shapes, value_level_start_index)
    return _attend(value, sampling_locations, attention_weights, levels).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Fills the three gradients, each shaped like what it belongs to."""
    levels = _levels(value_spatial_shapes, value_level_start_index)
    gradients = replay_gradients(
        lambda cells, places, weights: _attend(cells, places, weights, levels),
        (value, sampling_locations, attention_weights),
        grad_output=grad_output,
    )
    targets = (grad_value, grad_sampling_loc, grad_attn_weight)
    for target, gradient in zip(targets, gradients, strict=True):
        target.copy_(gradient)


def _levels(shapes: Tensor, starts: Tensor) -> list[tuple[int, int, int]]:
    """Returns (start in S, h, w) of every level."""
    return [
        (start, height, width)
        for start, (height, width) in zip(starts.tolist(), shapes.tolist(), strict=True)
    ]


def _attend(
    value: Tensor, locations: Tensor, weights: Tensor, levels: list[tuple[int, int, int]]
) -> Tensor:
    batch, _, heads, depth = value.shape
    queries = locations.size(1)
    value = widen(value).permute(0, 2, 3, 1)  # (B, M, D, S)
    # grid_sample counts from -1 to 1 over the whole level, which is align_corners=False.
    grids = (2 * widen(locations) - 1).transpose(1, 2)  # (B, M, Q, L, P, 2)
    weights = widen(weights).transpose(1, 2)  # (B, M, Q, L, P)
    total: Tensor | None = None
    for level, (start, height, width) in enumerate(levels):
        cells = value[..., start : start + height * width]
        sampled = functional.grid_sample(
            cells.reshape(batch * heads, depth, height, width),
            grids[:, :, :, level].flatten(0, 1),
            mode='bilinear',
            padding_mode='zeros',
            align_corners=False,
        )  # (BM, D, Q, P)
        part = (sampled * weights[:, :, :, level].flatten(0, 1)[:, None]).sum(-1)
        total = part if total is None else total + part
    if total is None:
        raise ValueError('multi-scale deformable attention needs at least one level, got none')
    return total.reshape(batch, heads * depth, queries).transpose(1, 2).contiguous()
