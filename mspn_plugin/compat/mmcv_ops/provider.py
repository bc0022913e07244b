"""The module that ``import mmcv._ext`` yields where compiled mmcv is absent.

Names, argument names and in-place outputs are those of mmcv 2.1.0 (`ops/csrc/pytorch/pybind.cpp`),
because ``mmcv.ops`` calls them by position and by keyword. This file runs under the name
``mmcv._ext``; hence the absolute imports.

Every other name is a function that raises NotImplementedError: ``mmcv.ops`` checks about a hundred
names on import, and a detector that uses none of the rest must not be kept from loading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import torchvision

from mspn_plugin.compat.mmcv_ops.attention import ms_deform_attn_backward, ms_deform_attn_forward
from mspn_plugin.compat.mmcv_ops.boxes import bbox_overlaps, nms, nms_match, softnms
from mspn_plugin.compat.mmcv_ops.deform import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from mspn_plugin.compat.mmcv_ops.focal import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from mspn_plugin.compat.mmcv_ops.missing import missing_op
from mspn_plugin.compat.mmcv_ops.roi import (
    roi_align_backward,
    roi_align_forward,
    roi_pool_backward,
    roi_pool_forward,
)

__all__ = [
    'bbox_overlaps',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'nms_match',
    'roi_align_backward',
    'roi_align_forward',
    'roi_pool_backward',
    'roi_pool_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
]


def get_compiler_version() -> str:
    """Returns what MMEngine's environment report prints as 'MMCV Compiler'."""
    return f'none (torchvision {torchvision.__version__} through mspn_plugin)'


def get_compiling_cuda_version() -> str:
    """Returns mmcv's words for a build without CUDA, whatever torchvision was built with."""
    return 'not available'


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return missing_op(name)
