"""What the groups of rows share: settings, models with the same weights, batches, the peak."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate

from . import material
from .network import Network, load, make_weights, own_config, stock_config
from .peak import matrix_peak, operations_per_person
from .settings import Settings
from .timing import Times, Work, alternate

SIDES = ('stock', 'ours')


class Bench:
    """One benchmark's settings and the things that several groups of rows use.

    Args:
        settings: How to run.
        folder: For files that are not results, such as weights.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.sizes = settings.sizes
        self.device = settings.device
        self.folder = folder
        self._peaks: dict[str, float] = {}
        self._preprocessors: dict[Network, Any] = {}
        self._operations: dict[Network, int] = {}

    @property
    def on_gpu(self) -> bool:
        """Whether the networks run on a GPU."""
        return self.device.type == 'cuda'

    @property
    def slow_repeats(self) -> int:
        """Measurements of each side for rows that take minutes."""
        return min(self.settings.repeats, self.sizes.slow_repeats)

    def alternate(self, sides: Mapping[str, Work], **options: Any) -> dict[str, Times]:
        """Times some sides on the device, as often as the settings say."""
        options.setdefault('least_time', self.sizes.least_time)
        repeats = options.pop('repeats', self.settings.repeats)
        return alternate(sides, repeats, device=self.device, **options)

    @contextlib.contextmanager
    def threads(self, count: int) -> Iterator[None]:
        """Gives torch and OpenCV another number of threads for a while."""
        before = torch.get_num_threads(), cv2.getNumThreads()
        torch.set_num_threads(count)
        cv2.setNumThreads(count if count > 1 else 0)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            cv2.setNumThreads(before[1])

    def peak(self, kind: str = 'fp32') -> float:
        """The device's matrix product, in operations per second; measured once.

        On a GPU whose convolutions may use TF32, that is the measure of what is called fp32.
        """
        if kind == 'fp32' and self.device.type == 'cuda' and torch.backends.cudnn.allow_tf32:
            kind = 'tf32'
        if kind not in self._peaks:
            self._peaks[kind] = matrix_peak(self.device, kind)
        return self._peaks[kind]

    @property
    def peaks(self) -> dict[str, float]:
        """The peaks that were asked for."""
        return dict(self._peaks)

    def operations(self, network: Network) -> int:
        """Operations that one person's heatmaps need without flip test."""
        if network not in self._operations:
            model = self.model('ours', network)
            self._operations[network] = operations_per_person(model, network.input_size)
        return self._operations[network]

    def config(self, side: str, network: Network) -> Config:
        """A side's config of a network, pointed at the data."""
        cfg = stock_config(network) if side == 'stock' else own_config(network)
        return material.point_at(cfg, self.settings.data_root, boxes=self.settings.detections)

    def weights(self, network: Network) -> Path:
        """A checkpoint for both sides."""
        path = self.folder / f'{network.file_name}.pth'
        if not path.is_file():
            images = torch.stack(self._crops(network, 4)['inputs'])[:, [2, 1, 0]]
            make_weights(network, (images.float() - 116) / 57, path)
        return path

    def model(self, side: str, network: Network) -> Any:
        """A side's model with the shared weights, in evaluation mode; a new one every time."""
        return load(self.config(side, network), self.weights(network), self.device)

    def models(self, network: Network) -> dict[str, Any]:
        """Both sides' models."""
        return {side: self.model(side, network) for side in SIDES}

    def batch(self, network: Network, size: int) -> tuple[torch.Tensor, list[Any]]:
        """Normalised crops ``(B, 3, h, w)`` of people on the device, and their samples."""
        data = self._crops(network, size)
        if network not in self._preprocessors:
            self._preprocessors[network] = self.model('ours', network).data_preprocessor
        inputs = self._preprocessors[network](dict(data, data_samples=[]))['inputs']
        return inputs, data['data_samples']

    def _crops(self, network: Network, size: int) -> dict[str, Any]:
        """People as MMPose's validation pipeline cuts them out, repeated if there are too few."""
        cfg = self.config('stock', network)
        pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
        meta = dict(flip_indices=FLIP_INDICES)
        people: list[dict[str, Any]] = []
        for photograph in material.photographs(
            self.settings.data_root, self.settings.detections, size
        ):
            for box in photograph.boxes:
                if len(people) < size:
                    data = dict(meta, img_path=str(photograph.path), bbox=box[None])
                    people.append(dict(data, bbox_score=torch.ones(1).numpy()))
        return pseudo_collate([pipeline(dict(people[i % len(people)])) for i in range(size)])


FLIP_INDICES = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
"""Left and right of COCO's keypoints exchanged."""
