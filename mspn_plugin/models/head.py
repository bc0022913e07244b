"""MultiStageHead: a heatmap prediction for every unit, their losses, and the final poses.

Shapes: B batch, S stages, U units per stage, L target levels, K keypoints, C unit channels,
H and W heatmap size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.structures import PixelData
from mmpose.models.heads.base_head import BaseHead
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.utils.typing import InstanceList, PixelDataList, SampleList
from torch import Tensor, nn

from ..heatmaps import MultiLevelHeatmap
from .backbone import RANDOM
from .losses import losses_of_old_settings, pck_accuracy

Features = Sequence[Sequence[Tensor]]


@MODELS.register_module()
class MultiStageHead(BaseHead):
    """A 3x3 convolution with normalisation for each unit, resized to the heatmap size.

    The last unit of every stage learns from its hardest keypoints, the coarser ones from all, with
    a smaller weight. With coarse-to-fine supervision the targets of the last stage are one level
    finer than those of the stages before (paper section 3.4).

    Args:
        decoder: Config of the `MultiLevelHeatmap` codec: it sets the heatmap size and the target
            levels, renders the targets and decodes the final heatmaps.
        num_stages: Number of stages of the backbone.
        num_units: Units per stage.
        unit_channels: Channels of every unit.
        num_keypoints: Number of keypoints K.
        coarse_to_fine: Whether the last stage is supervised by levels 1..U and the ones before by
            0..U-1; otherwise all stages are supervised by levels 0..U-1.
        coarse_loss: Config of the loss of every unit but the last of its stage; see
            `mspn_plugin.models.losses`. By default MMPose's rule, a `KeypointMeanMSELoss` with the
            weight 1/4; for the original's a `VisibleKeypointMSELoss`.
        final_loss: Config of the loss of the last unit of every stage, by default `OHKMMSELoss`;
            for the original's rule with ``binary_weights=True``.
        norm_cfg: Normalisation of every convolution.
        init_cfg: Initialisation.
        old: ``ohkm``, ``topk``, ``coarse_weight`` and ``coarse_targets``, what came before the
            losses; still understood, with a `FutureWarning` that shows the lines to write.

    Raises:
        ValueError: The codec has too few levels, or is another codec.
    """

    def __init__(
        self,
        decoder: dict[str, Any],
        num_stages: int = 2,
        *,
        num_units: int = 4,
        unit_channels: int = 256,
        num_keypoints: int = 17,
        coarse_to_fine: bool = True,
        coarse_loss: dict[str, Any] | None = None,
        final_loss: dict[str, Any] | None = None,
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
        **old: Any,
    ) -> None:
        super().__init__(init_cfg or RANDOM)
        codec = KEYPOINT_CODECS.build(decoder)
        if not isinstance(codec, MultiLevelHeatmap):
            raise ValueError(f'decoder must be a MultiLevelHeatmap codec, not {decoder["type"]}')
        if codec.num_levels < num_units + coarse_to_fine:
            raise ValueError(
                f'the codec has {codec.num_levels} target levels, but {num_units} units with '
                f'coarse_to_fine={coarse_to_fine} need {num_units + coarse_to_fine}; '
                'give the codec that many kernel_sizes'
            )
        coarse_loss = coarse_loss or dict(type='KeypointMeanMSELoss', loss_weight=0.25)
        final_loss = final_loss or dict(type='OHKMMSELoss', topk=8)
        if old:
            coarse_loss, final_loss = losses_of_old_settings(coarse_loss, final_loss, old)
        norm_cfg = dict(norm_cfg or dict(type='BN'))
        settings = dict(padding=1, norm_cfg=norm_cfg, act_cfg=None)
        self.decoder: MultiLevelHeatmap = codec
        self.num_keypoints = num_keypoints
        self.coarse_to_fine = coarse_to_fine
        self.renderer = codec.renderer()
        self.coarse_loss = MODELS.build(coarse_loss)
        self.final_loss = MODELS.build(final_loss)
        self.num_units = num_units
        self.stages: Any = nn.ModuleList(
            nn.ModuleList(
                ConvModule(unit_channels, num_keypoints, 3, **settings) for _ in range(num_units)
            )
            for _ in range(num_stages)
        )

    def level_of(self, stage: int, unit: int) -> int:
        """The target level that supervises a unit, from 0, the coarsest."""
        return unit + int(self.coarse_to_fine and stage == len(self.stages) - 1)

    def forward(self, feats: Features) -> list[list[Tensor]]:
        """Predicts heatmaps ``[stage][unit]`` of ``(B, K, H, W)`` of features ``(B, C, h, w)``.

        Where stages or units are left out, as `MSPNNeck` does in evaluation mode, they have to be
        the first stages and the coarsest units.
        """
        convs = [stage[-len(feats[-1]) :] for stage in self.stages[-len(feats) :]]
        return [
            [self._resized(conv(x)) for conv, x in zip(stage, units, strict=True)]
            for stage, units in zip(convs, feats, strict=True)
        ]

    def _resized(self, maps: Tensor) -> Tensor:
        """Heatmaps, and so their losses, are of full precision, also under autocast."""
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
        size = self.decoder.heatmap_size[::-1]
        return F.interpolate(maps, size=size, mode='bilinear', align_corners=True)

    def loss(
        self, feats: Features, batch_data_samples: SampleList, train_cfg: Any = None
    ) -> dict[str, Tensor]:
        """Computes the loss of every unit; nothing here waits for the GPU.

        Args:
            feats: ``[stage][unit]`` of ``(B, C, h, w)``, all stages and units.
            batch_data_samples: B samples with ``gt_instance_labels.keypoint_cells`` and
                ``keypoint_weights``, as the codec's ``encode`` makes them.
            train_cfg: Not used.

        Returns:
            ``loss_s<stage>_u<unit>`` for each (MMEngine adds them up as ``loss``), and
            ``acc_pose``, the accuracy of the final heatmaps.
        """
        if len(feats) != len(self.stages) or len(feats[0]) != self.num_units:
            raise ValueError(
                f'the loss needs the features of all {len(self.stages)} stages of '
                f'{self.num_units} units, but the neck passed on {len(feats)} of '
                f'{len(feats[0])}; in evaluation mode set eval_units="all" in the MSPNNeck'
            )
        labels = [sample.gt_instance_labels for sample in batch_data_samples]
        device = feats[0][0].device
        cells = torch.cat([label.keypoint_cells for label in labels]).to(device)
        weights = torch.cat([label.keypoint_weights for label in labels]).to(device)
        if cells.shape[1] != self.num_keypoints:
            raise ValueError(
                f'the data has {cells.shape[1]} keypoints per person, but the head predicts '
                f'{self.num_keypoints}; set num_keypoints of the MultiStageHead'
            )
        heatmaps = self.forward(feats)
        places = sorted(
            (self.level_of(stage, unit), stage, unit)
            for stage in range(len(self.stages))
            for unit in range(self.num_units)
        )
        losses: dict[str, Tensor] = {}
        # Level by level, so that the targets of no more than two are in memory.
        for level, supervised in groupby(places, key=itemgetter(0)):
            target = self.renderer(cells, weights, level)
            for _, stage, unit in supervised:
                output = heatmaps[stage][unit]
                # The end of a stage and the units before it each have a loss of their own.
                is_final = unit == self.num_units - 1
                criterion = self.final_loss if is_final else self.coarse_loss
                losses[f'loss_s{stage}_u{unit}'] = criterion(output, target, weights)
                # What the poses are decoded from is measured too, against the finest target.
                if is_final and stage == len(self.stages) - 1:
                    losses['acc_pose'] = pck_accuracy(output.detach(), target, weights)
        return {name: losses[name] for name in sorted(losses)}

    def predict(
        self, feats: Any, batch_data_samples: SampleList, test_cfg: Any = None
    ) -> InstanceList | tuple[InstanceList, PixelDataList]:
        """Decodes the heatmaps of the last unit.

        Args:
            feats: Features as in `forward`; with ``flip_test`` a list of two, of the images and of
                the mirrored images.
            batch_data_samples: B samples; with ``flip_test`` they name the ``flip_indices``.
            test_cfg: ``flip_test``, ``flip_mode``, ``shift_heatmap`` and ``output_heatmaps``, as
                MMPose's heatmap heads take them.

        Returns:
            Per sample the keypoints ``(1, K, 2)`` in input pixels and scores ``(1, K)``; with
            ``output_heatmaps`` also the heatmaps ``(K, H, W)``.
        """
        test_cfg = test_cfg or {}
        views = feats if test_cfg.get('flip_test', False) else [feats]
        heatmaps, *mirrored = (self.forward([view[-1][-1:]])[0][0] for view in views)
        if mirrored:
            unflipped = flip_heatmaps(
                mirrored[0],
                flip_indices=batch_data_samples[0].metainfo['flip_indices'],
                flip_mode=test_cfg.get('flip_mode', 'heatmap'),
                shift_heatmap=test_cfg.get('shift_heatmap', False),
            )
            heatmaps = (heatmaps + unflipped) * 0.5
        poses = self.decode(heatmaps)
        if test_cfg.get('output_heatmaps', False):
            return poses, [PixelData(heatmaps=maps) for maps in heatmaps.detach()]
        return poses
