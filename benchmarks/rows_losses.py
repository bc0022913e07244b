"""Rows of losses: OHKM alone, and all losses of a head with targets and accuracy."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.models.losses import KeypointOHKMMSELoss
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.structures import MultilevelPixelData, PoseDataSample
from torch import Tensor

from mspn_plugin.models.losses import OHKMMSELoss

from .bench import SIDES, Bench
from .compare import same_numbers
from .network import own_config, stock_config
from .rows import Group, Row, timed_row
from .rows_heatmaps import random_keypoints

_KEYPOINTS = 17


class Losses(Group):
    """Losses of given heatmaps, forward and backward."""

    name = 'losses'
    title = 'Losses'

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        network = bench.sizes.network
        self.count = bench.sizes.targets
        width, height = (size // 4 for size in network.input_size)
        generator = torch.Generator().manual_seed(0)
        shape = (network.stages * 4, self.count, _KEYPOINTS, height, width)
        maps = (50 * torch.rand(shape, generator=generator)).to(bench.device)
        self.outputs = [one.clone().requires_grad_() for one in maps]
        self.output = maps[-1].clone().requires_grad_()
        self.target = (100 * torch.rand(shape[1:], generator=generator)).to(bench.device)
        weights = torch.rand(self.count, _KEYPOINTS, generator=generator) > 0.2
        self.weights = weights.float()
        self.on_device = self.weights.to(bench.device)
        self.ohkm: dict[str, Any] = dict(
            stock=KeypointOHKMMSELoss(use_target_weight=True, topk=8), ours=OHKMMSELoss(8)
        )
        self.heads = self._heads()
        self.samples = self._samples()

    def _heads(self) -> dict[str, Any]:
        """Heads that take heatmaps for features: everything of their loss but the convolutions."""
        network = self.bench.sizes.network
        heads = {}
        for side, cfg in (('stock', stock_config(network)), ('ours', own_config(network))):
            head = MODELS.build(cfg.model.head).to(self.bench.device)
            head.forward = lambda feats: feats
            heads[side] = head
        self.features = dict(
            stock=self.outputs,
            ours=[self.outputs[stage * 4 : stage * 4 + 4] for stage in range(network.stages)],
        )
        return heads

    def _samples(self) -> dict[str, list[PoseDataSample]]:
        """What each side's pipeline puts into a batch, already on the device."""
        network = self.bench.sizes.network
        codecs = [KEYPOINT_CODECS.build(codec) for codec in stock_config(network).codec]
        own = KEYPOINT_CODECS.build(own_config(network).model.head.decoder)
        samples: dict[str, list[PoseDataSample]] = dict(stock=[], ours=[])
        keypoints = random_keypoints(self.count, network.input_size)
        for points, seen in zip(keypoints, self.weights.numpy()[:, None], strict=True):
            encoded = [codec.encode(points, seen) for codec in codecs]
            fields = MultilevelPixelData()
            maps = [torch.from_numpy(one['heatmaps']) for one in encoded]
            fields.set_data(dict(heatmaps=maps))
            labels = np.array([one['keypoint_weights'] for one in encoded])
            sample = PoseDataSample(
                gt_fields=fields,
                gt_instance_labels=InstanceData(keypoint_weights=torch.from_numpy(labels)),
            )
            samples['stock'].append(sample.to(self.bench.device))
            labels = InstanceData(
                **{
                    name: torch.from_numpy(value)
                    for name, value in own.encode(points, seen).items()
                }
            )
            samples['ours'].append(PoseDataSample(gt_instance_labels=labels).to(self.bench.device))
        return samples

    def _ohkm(self, side: str) -> tuple[Tensor, Tensor | None]:
        self.output.grad = None
        loss = self.ohkm[side](self.output, self.target, self.on_device)
        loss.backward()
        return loss.detach(), self.output.grad

    def _head(self, side: str) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        for output in self.outputs:
            output.grad = None
        losses = self.heads[side].loss(self.features[side], self.samples[side])
        total = sum(value.sum() for name, value in losses.items() if 'loss' in name)
        total.backward()
        return losses, [output.grad for output in self.outputs]

    def check(self) -> str:
        """Compares values and gradients."""
        (wanted, slope), (found, own_slope) = self._ohkm('stock'), self._ohkm('ours')
        same_numbers('OHKM loss', wanted, found, tolerance=1e-5)
        same_numbers('gradient of the OHKM loss', slope, own_slope, tolerance=1e-5)
        (wanted_all, slopes), (found_all, own_slopes) = self._head('stock'), self._head('ours')
        totals = [
            float(sum(value.detach().sum() for name, value in all_.items() if 'loss' in name))
            for all_ in (wanted_all, found_all)
        ]
        same_numbers('sum of all losses', *totals, tolerance=1e-5)
        for unit, gradients in enumerate(zip(slopes, own_slopes, strict=True)):
            same_numbers(f'gradient of the loss of unit {unit}', *gradients, tolerance=1e-5)
        accuracy = [np.asarray(float(all_['acc_pose'])) for all_ in (wanted_all, found_all)]
        same_numbers('accuracy in training', *accuracy, tolerance=1e-5)
        return 'losses, their gradients, accuracy'

    def measure(self) -> Iterable[Row]:
        """Times forward and backward."""
        for key, what, work, bar in (
            ('ohkm', f'OHKM loss, forward and backward, B = {self.count}', self._ohkm, 5),
            (
                'losses',
                f'targets, all losses, accuracy; forward and backward, B = {self.count}',
                self._head,
                None,
            ),
        ):
            times = self.bench.alternate({side: partial(work, side) for side in SIDES})
            yield timed_row(key, what, times, unit='ms', bar=bar)
