"""MSPNBackbone: stem, then stages of a downsample and an upsample path.

Li et al., "Rethinking on Multi-Stage Networks for Human Pose Estimation", arXiv 1901.00148.
Shapes: B batch, S stages, U units per stage (one per level), C unit channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn

from ..checkpoints.resnet import load_resnet_into
from .downsample import Bottleneck, DownsamplePath, NormCfg
from .upsample import Skips, StageOutput, UpsamplePath


class SameMaxPool(nn.Module):
    """Max pooling with as little padding as gives ``ceil(size / stride)``, the odd cell at the end.

    The padding is zero, which after a ReLU is as good as none.

    Args:
        kernel_size: Side of the window.
        stride: Its step.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, C, h, w)`` to ``(B, C, ceil(h / stride), ceil(w / stride))``."""
        padding = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max(0, (-(-size // self.stride) - 1) * self.stride + self.kernel_size - size)
            padding += [total // 2, total - total // 2]
        return F.max_pool2d(F.pad(x, padding), self.kernel_size, self.stride)


class Stage(BaseModule):
    """One single-stage module: a downsample path and an upsample path over the same levels.

    Args:
        in_channels: Channels of the input.
        base_channels: Inner channels of the first level's bottlenecks.
        num_blocks: Bottlenecks per level.
        unit_channels: Channels of the upsample units.
        is_last: Whether no stage follows.
        norm_cfg: Normalisation of every convolution.
    """

    def __init__(
        self,
        in_channels: int,
        base_channels: int,
        num_blocks: Sequence[int],
        unit_channels: int,
        *,
        is_last: bool,
        norm_cfg: NormCfg,
    ) -> None:
        super().__init__()
        self.down = DownsamplePath(in_channels, base_channels, num_blocks, norm_cfg=norm_cfg)
        self.up = UpsamplePath(
            [base_channels * 2**level * Bottleneck.expansion for level in range(len(num_blocks))],
            unit_channels,
            cross_channels=None if is_last else in_channels,
            norm_cfg=norm_cfg,
        )

    def forward(self, x: Tensor, skips: Sequence[Skips] | None) -> StageOutput:
        """Maps ``(B, in, h, w)`` and the skips of the stage before to this stage's outputs."""
        return self.up(self.down(x, skips))


@MODELS.register_module()
class MSPNBackbone(BaseModule):
    """The part of MSPN that feeds the neck.

    Args:
        num_stages: Number of stages.
        num_blocks: Bottlenecks of every level, finest level first; its length is the number of
            levels, and so of units per stage. ``(3, 4, 6, 3)`` is ResNet-50.
        stem_channels: Channels of the stem and of what one stage hands to the next.
        base_channels: Inner channels of the first level's bottlenecks; they double every level.
        unit_channels: Channels of the upsample units.
        pool_padding: How the stem's 3x3 max pooling treats the border: ``'symmetric'``, one cell on
            every side, or ``'same'`` as MindSpore does, which for an even size is one cell on the
            right and at the bottom.
        with_cp: Whether training keeps only the bottlenecks' inputs and computes the rest again
            for the gradients: less memory for more time.
        norm_cfg: Normalisation of every convolution in the network.
        init_cfg: Initialisation. ``dict(type='Pretrained', checkpoint=...)`` takes a ResNet with
            the same ``num_blocks`` (``'torchvision://resnet50'``, a local file or a URL) into the
            stem and into the downsample path of every stage; the rest starts at random.

    Raises:
        ValueError: A size is not positive, there are fewer than two levels, or ``pool_padding`` is
            unknown.
    """

    def __init__(
        self,
        num_stages: int = 2,
        num_blocks: Sequence[int] = (3, 4, 6, 3),
        *,
        stem_channels: int = 64,
        base_channels: int = 64,
        unit_channels: int = 256,
        pool_padding: str = 'symmetric',
        with_cp: bool = False,
        norm_cfg: NormCfg | None = None,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        self._resnet = init_cfg if isinstance(init_cfg, dict) else {}
        self._resnet = self._resnet if self._resnet.get('type') == 'Pretrained' else {}
        if init_cfg is None or self._resnet:
            init_cfg = [
                dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
            ]
        super().__init__(init_cfg)
        if num_stages < 1:
            raise ValueError(f'num_stages is {num_stages}, expected at least 1')
        if len(num_blocks) < 2 or min(num_blocks) < 1:
            raise ValueError(
                f'num_blocks is {tuple(num_blocks)}, expected at least two levels of at least one '
                'bottleneck each, such as (3, 4, 6, 3)'
            )
        if min(stem_channels, base_channels, unit_channels) < 1:
            raise ValueError('stem_channels, base_channels and unit_channels must be positive')
        if pool_padding not in ('symmetric', 'same'):
            raise ValueError(f"pool_padding is {pool_padding!r}, expected 'symmetric' or 'same'")
        norm_cfg = dict(norm_cfg or dict(type='BN'))
        self.pool_padding = pool_padding
        self.num_stages = num_stages
        self.num_units = len(num_blocks)
        self.unit_channels = unit_channels
        self.stem = ConvModule(3, stem_channels, 7, stride=2, padding=3, norm_cfg=norm_cfg)
        self.pool = (
            SameMaxPool(3, 2) if pool_padding == 'same' else nn.MaxPool2d(3, stride=2, padding=1)
        )
        self.stages = nn.ModuleList(
            Stage(
                stem_channels,
                base_channels,
                num_blocks,
                unit_channels,
                is_last=stage == num_stages - 1,
                norm_cfg=norm_cfg,
            )
            for stage in range(num_stages)
        )
        for module in self.modules():
            if isinstance(module, Bottleneck):
                module.with_cp = with_cp

    def init_weights(self) -> None:
        """Initialises at random, then copies a pretrained ResNet where ``init_cfg`` names one."""
        super().init_weights()
        if self._resnet:
            load_resnet_into(self, self._resnet['checkpoint'], num_stages=self.num_stages)
            self._resnet = {}  # once, like the random initialisation

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """Computes the features of all units.

        Args:
            x: Normalised images ``(B, 3, h, w)``.

        Returns:
            ``[stage][unit]``, coarsest unit first: ``(B, C, h / 2^k, w / 2^k)``, where the finest
            unit has a quarter of the input's size.
        """
        x = self.pool(self.stem(x))
        skips: Sequence[Skips] | None = None
        features = []
        for stage in self.stages:
            units, skips, cross = stage(x, skips)
            features.append(units)
            x = cross
        return features
