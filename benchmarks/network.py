"""The network that both sides run: MMPose's own config, this package's, and weights for both."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmpose
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.apis import init_model
from mmpose.registry import MODELS
from torch import Tensor, nn

from mspn_plugin.zoo import get_config

_STOCK = '.mim/configs/body_2d_keypoint/topdown_heatmap/coco'
_RECIPE = '8xb32-210e_coco-256x192'


@dataclass(frozen=True)
class Network:
    """One network that MMPose and this package can both build.

    Attributes:
        stages: Number of stages, 1 to 4.
        input_size: ``(w, h)`` in pixels; heatmaps have a quarter of it.
        small: One bottleneck per level and 64 channels per unit instead of ResNet-50 and 256.
    """

    stages: int = 2
    input_size: tuple[int, int] = (192, 256)
    small: bool = False

    def __str__(self) -> str:
        width, height = self.input_size
        name = 'small MSPN' if self.small else 'MSPN'
        return f'{self.stages}-stage {name} at {height}x{width}'

    @property
    def file_name(self) -> str:
        """A name for files."""
        width, height = self.input_size
        return f'mspn{"-small" * self.small}-{self.stages}stg-{height}x{width}'


def stock_config(network: Network) -> Config:
    """MMPose's own config of a network, without the download of ResNet's weights."""
    name = f'{network.stages}xmspn50' if network.stages > 1 else 'mspn50'
    folder = Path(mmpose.__file__).parent / _STOCK
    cfg = Config.fromfile(folder / f'td-hm_{name}_{_RECIPE}.py')
    cfg.custom_imports = dict(imports=['mspn_plugin'], allow_failed_imports=False)
    return _adapted(cfg, network, ('backbone', 'head'))


def own_config(network: Network) -> Config:
    """This package's config of a network, without the download of ResNet's weights."""
    cfg = Config.fromfile(get_config(f'mspn50-{network.stages}stg_{_RECIPE}'))
    return _adapted(cfg, network, ('backbone', 'neck', 'head'))


def _adapted(cfg: Config, network: Network, parts: tuple[str, ...]) -> Config:
    init_default_scope('mmpose')
    cfg.model.backbone.init_cfg = None
    if network.small:
        cfg.model.backbone.num_blocks = [1, 1, 1, 1]
        for part in parts:
            cfg.model[part].unit_channels = 64
    _set_sizes(cfg._cfg_dict, network.input_size)
    return cfg


def _set_sizes(node: Any, input_size: tuple[int, int]) -> None:
    """Sets the sizes of images and heatmaps wherever a config names them."""
    width, height = input_size
    sizes = dict(
        input_size=(width, height),
        heatmap_size=(width // 4, height // 4),
        out_shape=(height // 4, width // 4),
    )
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if key in sizes:
            node[key] = sizes[key]
        elif isinstance(value, (dict, list)):
            _set_sizes(value, input_size)


def make_weights(network: Network, images: Tensor, path: Path) -> Path:
    """Writes a checkpoint with random weights of MMPose's network, which both sides load.

    A network with random weights and without statistics gives numbers of any size, or none at all.
    So its normalisations get those of some images, and its heatmaps the range of a trained
    network's.

    Args:
        network: The network.
        images: Normalised images ``(B, 3, h, w)``.
        path: The file to write.

    Returns:
        The path.
    """
    torch.manual_seed(network.stages)
    model = MODELS.build(stock_config(network).model)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    for layer in model.head.predict_layers:
        nn.init.uniform_(layer.conv_layers[1].bn.weight, 20, 60)
    calibrate(model, lambda: model(images, None))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


def calibrate(model: nn.Module, forward: Callable[[], object]) -> None:
    """Gives every normalisation the statistics of one forward pass; leaves evaluation mode on."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    with torch.no_grad():
        forward()
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def load(cfg: Config, weights: Path, device: torch.device) -> Any:
    """A model in evaluation mode, as users of MMPose's inference load it.

    Args:
        cfg: Its config.
        weights: A checkpoint.
        device: Where it goes.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # MMEngine says what it loads
        return init_model(cfg, str(weights), device=str(device))
