"""MSPNPoseEstimator: MMPose's top-down estimator that also loads everybody else's MSPN weights."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from mmengine.logging import print_log
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import MODELS
from mmpose.utils.typing import SampleList
from torch import Tensor, nn

from mspn.errors import InputError

from ..checkpoints.files import weights_in
from ..checkpoints.match import fit_weights
from ..checkpoints.sources import other_settings

PRECISIONS = dict(fp32=None, bf16=torch.bfloat16, fp16=torch.float16)
"""What ``test_cfg.precision`` may be."""

COMPILE_MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')
"""What ``test_cfg.compile`` may be; torch's names. ``'reduce-overhead'`` makes CUDA graphs."""

_CPU_PIXELS = 393_216  # 8 crops of 256x192: what a CPU works on at a time; more is slower


@MODELS.register_module()
class MSPNPoseEstimator(TopdownPoseEstimator):
    """A `TopdownPoseEstimator` for `MSPNBackbone`, `MSPNNeck` and `MultiStageHead`.

    Whatever loads weights into it (``load_from``, ``mim test``, ``init_model``, the inferencers)
    may name a file of this package, of MMPose, of the original or of the MindSpore version. All of
    the weights must fit, where MMEngine alone would warn and go on with random ones. Weights lie
    channels-last in memory, and activations follow.

    Args:
        test_cfg: MMPose's settings (``flip_test``, ...), and two more. ``precision``: ``'bf16'`` or
            ``'fp16'`` lets the convolutions of a prediction compute with half the bits, ``'fp32'``
            is what happens without it. Heatmaps and their decoding are in full precision always.
            ``compile``: one of `COMPILE_MODES` lets `torch.compile` prepare the network for
            predictions, which takes a minute or two at the start and needs a C++ compiler; the
            modes that make CUDA graphs overwrite the features of one call in the next.
        strict: Whether weights must fit completely. ``False`` lets a model start from weights for
            another number of keypoints, with new prediction layers.
        kwargs: Those of `TopdownPoseEstimator`.

    Raises:
        InputError: The precision or the way to compile is unknown.
    """

    def __init__(self, *, strict: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._check_settings()
        self.strict = strict
        # The order of memory that convolutions on CPUs and tensor cores prefer. Before anything
        # wraps the model: DistributedDataParallel takes its buckets from how the weights lie.
        self.to(memory_format=torch.channels_last)
        self._register_load_state_dict_pre_hook(self._translate)

    def predict(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        """Predicts poses of normalised images ``(B, 3, h, w)`` into the B samples.

        With ``flip_test`` images and mirrored images make one batch. A CPU gets a large batch in
        small parts, whose features stay in its cache.
        """
        flip = self.test_cfg.get('flip_test', False)
        at_once = len(inputs)
        if inputs.device.type == 'cpu':
            pixels = inputs.shape[-2] * inputs.shape[-1] * (1 + flip)
            at_once = max(1, _CPU_PIXELS // pixels)
        predict = self._predict_flipped if flip else super().predict
        self._check_settings()
        precision: Any = contextlib.nullcontext()  # what the caller has set
        if name := self.test_cfg.get('precision'):
            dtype = PRECISIONS[name]
            precision = torch.autocast(inputs.device.type, dtype, enabled=dtype is not None)
        found: SampleList = []
        with precision:
            for start in range(0, len(inputs), at_once):
                part = slice(start, start + at_once)
                found += predict(inputs[part], data_samples[part])
        return found

    def extract_feat(self, inputs: Tensor) -> Any:
        """Features of the neck ``[stage][unit]``; outside of training compiled if asked for."""
        mode = self.test_cfg.get('compile')
        if mode is None or self.training:
            return super().extract_feat(inputs)
        self._check_settings()
        parts = [self.backbone, self.neck] if self.with_neck else [self.backbone]
        return compiled_features(parts, inputs, mode)

    def _check_settings(self) -> None:
        for name, choices in (('precision', PRECISIONS), ('compile', COMPILE_MODES)):
            chosen = self.test_cfg.get(name)
            if chosen not in (None, *choices):
                expected = f'one of {", ".join(choices)}, or nothing'
                raise InputError(f'test_cfg.{name} is {chosen!r}, expected {expected}')

    def _predict_flipped(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        both = self.extract_feat(torch.cat([inputs, inputs.flip(-1)]))
        parts = slice(len(inputs)), slice(len(inputs), None)
        halves = [[[unit[part] for unit in stage] for stage in both] for part in parts]
        found = self.head.predict(halves, data_samples, test_cfg=self.test_cfg)
        poses, fields = found if isinstance(found, tuple) else (found, None)
        return self.add_pred_to_datasample(poses, fields, data_samples)

    def _translate(self, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        """Replaces what is about to be loaded, in place, with this model's own names."""
        given = {name: value for name, value in state_dict.items() if name.startswith(prefix)}
        if not given:
            return
        weights: Any = {name.removeprefix(prefix): value for name, value in given.items()}
        if not all(isinstance(value, Tensor) for value in weights.values()):
            # A checkpoint of the original holds its weights one level deeper.
            weights = weights_in(weights, 'the checkpoint')
        fitting, source = fit_weights(weights, self, strict=self.strict)
        for line in other_settings(self, source):
            print_log(
                f'the weights are of {source.description}; they were trained with {line}',
                logger='current',
                level=logging.WARNING,
            )
        for name in given:
            del state_dict[name]
        state_dict.update({prefix + name: value for name, value in fitting.items()})


def compiled_features(parts: Sequence[nn.Module], inputs: Tensor, mode: str) -> Any:
    """Passes inputs through parts of a network, compiled at the first call for a size of inputs.

    Raises:
        InputError: torch cannot compile here, for example because there is no C++ compiler.
    """
    try:
        return _compiled(mode)(tuple(parts), inputs)
    except RuntimeError as error:
        # By its name: the module that has it takes seconds to import.
        if all(base.__name__ != 'BackendCompilerFailed' for base in type(error).__mro__):
            raise
        lines = [line.strip() for line in f'{error}'.splitlines() if line.strip()]
        reason = ' '.join(lines[:2])
        raise InputError(
            f'test_cfg.compile={mode}: torch cannot compile the network here ({reason}); install '
            'what is missing, or leave the setting out'
        ) from error


@cache
def _compiled(mode: str) -> Callable[[tuple[nn.Module, ...], Tensor], Any]:
    # No method of one model: what holds the compiled code would keep that model alive.
    return torch.compile(_pass_through, mode=mode)


def _pass_through(parts: tuple[nn.Module, ...], features: Any) -> Any:
    for part in parts:
        features = part(features)
    return features
