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
from .downsample import Bottleneck, NormCfg
from .upsample import UpsamplePath

RANDOM = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
]
"""How weights start that no file gives."""


class SameMaxPool(nn.MaxPool2d):
    """MindSpore's max pooling for a kernel of 3 and a stride of 2: ``ceil(size / 2)`` cells.

    The padding is zero, which after a ReLU is as good as none.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pads an even size at its end only."""
        padding = [cells for size in (x.shape[-1], x.shape[-2]) for cells in (size % 2, 1)]
        return super().forward(F.pad(x, padding))


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
        downsample: Config of another downsample path for every stage, such as `BackboneDownsample`;
            ``num_blocks`` and ``base_channels`` are those of the default, `DownsamplePath`.
        pool_padding: How the stem's 3x3 max pooling treats the border: ``'symmetric'``, one cell on
            every side, or ``'same'`` as MindSpore does, which for an even size is one cell on the
            right and at the bottom.
        with_cp: Whether training keeps only the bottlenecks' inputs and computes the rest again
            for the gradients: less memory for more time.
        norm_cfg: Normalisation of every convolution in the network.
        init_cfg: Initialisation. ``dict(type='Pretrained', checkpoint=...)`` takes a ResNet with
            the same ``num_blocks`` (``'torchvision://resnet50'``, a local file or a URL) into the
            stem and into the `DownsamplePath` of every stage; the rest starts at random.

    Raises:
        ValueError: A size is not positive, there are fewer than two levels, ``pool_padding`` is
            unknown, or a ResNet is to go into another downsample path.
    """

    def __init__(
        self,
        num_stages: int = 2,
        num_blocks: Sequence[int] = (3, 4, 6, 3),
        *,
        stem_channels: int = 64,
        base_channels: int = 64,
        unit_channels: int = 256,
        downsample: dict[str, Any] | None = None,
        pool_padding: str = 'symmetric',
        with_cp: bool = False,
        norm_cfg: NormCfg | None = None,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        self._resnet = init_cfg if isinstance(init_cfg, dict) else {}
        self._resnet = self._resnet if self._resnet.get('type') == 'Pretrained' else {}
        super().__init__(RANDOM if init_cfg is None or self._resnet else init_cfg)
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
        resnet = dict(type='DownsamplePath', base_channels=base_channels, num_blocks=num_blocks)
        downsample = downsample or dict(resnet, norm_cfg=norm_cfg)
        if self._resnet and downsample['type'] != 'DownsamplePath':
            raise ValueError(
                f'a pretrained ResNet does not fit a {downsample["type"]}; set the init_cfg of the '
                "MSPNBackbone to None, and name its own weights in the downsample path's backbone"
            )
        pictures = getattr(MODELS.get(downsample['type']), 'takes_pictures', False)
        self.pool_padding = pool_padding
        self.num_stages = num_stages
        self.unit_channels = unit_channels
        self.stem: nn.Module = nn.Identity()
        self.pool: nn.Module = nn.Identity()
        if not pictures:
            self.stem = ConvModule(3, stem_channels, 7, stride=2, padding=3, norm_cfg=norm_cfg)
            pool = nn.MaxPool2d if pool_padding == 'symmetric' else SameMaxPool
            self.pool = pool(3, 2, padding=int(pool_padding == 'symmetric'))
        self.stages: Any = nn.ModuleList()
        for stage in range(num_stages):
            in_channels = None if pictures and stage == 0 else stem_channels
            down = MODELS.build(dict(downsample, in_channels=in_channels))
            cross_channels = stem_channels if stage < num_stages - 1 else None
            up = UpsamplePath(
                down.out_channels, unit_channels, cross_channels=cross_channels, norm_cfg=norm_cfg
            )
            self.stages.append(nn.ModuleDict(dict(down=down, up=up)))
        for module in self.modules():
            if isinstance(module, Bottleneck):
                module.with_cp = with_cp

    def init_weights(self) -> None:
        """Initialises at random, then copies a pretrained ResNet where ``init_cfg`` names one."""
        super().init_weights()
        for stage in self.stages:
            if hasattr(stage.down, 'init_weights'):  # which lists hide from the line above
                stage.down.init_weights()
        if self._resnet:
            load_resnet_into(self, self._resnet['checkpoint'], num_stages=self.num_stages)
            self._resnet = {}  # once, like the random initialisation

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """Computes the features of all units of normalised images ``(B, 3, h, w)``.

        Returns:
            ``[stage][unit]``, coarsest unit first: ``(B, C, h / 2^k, w / 2^k)``, where the finest
            unit has a quarter of the input's size.
        """
        x = self.pool(self.stem(x))
        skips = None
        features = []
        for stage in self.stages:
            units, skips, x = stage.up(stage.down(x, skips))
            features.append(units)
        return features
