"""test_cfg.precision: the convolutions have half the bits, the heatmaps and poses do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mspn_plugin.apis import infer_people
from mspn_plugin.models.fused import fused


@pytest.fixture
def model(calibrated_tiny):
    model = calibrated_tiny()
    model.test_cfg['output_heatmaps'] = True
    return model


def predict(model):
    """Scores, heatmaps, and the types of numbers in which the convolutions computed."""
    image = np.random.default_rng(0).integers(0, 255, (200, 160, 3), np.uint8)
    types = set()
    hooks = [
        module.register_forward_hook(lambda _, __, out: types.add(out.dtype))
        for module in fused(model).modules()
        if isinstance(module, nn.Conv2d)
    ]
    person = infer_people(model, image, [[10, 10, 100, 180]])[0]
    for hook in hooks:
        hook.remove()
    return person.pred_instances.keypoint_scores, person.pred_fields.heatmaps, types


@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
def test_half_the_bits_where_asked_for(model, precision):
    scores, heatmaps, types = predict(model)
    assert types == {torch.float32}
    model.test_cfg['precision'] = precision
    half_scores, half_heatmaps, types = predict(model)
    assert types == {torch.bfloat16 if precision == 'bf16' else torch.float16}
    assert half_heatmaps.dtype == torch.float32
    span = heatmaps.max() - heatmaps.min()
    assert 0 < (half_heatmaps - heatmaps).abs().max() < 0.1 * span
    assert half_scores == pytest.approx(scores, abs=0.02)


def test_what_the_caller_has_set_holds_unless_a_precision_is_named(model):
    with torch.autocast('cpu', torch.bfloat16):
        assert predict(model)[2] == {torch.bfloat16}
        model.test_cfg['precision'] = 'fp32'
        assert predict(model)[2] == {torch.float32}


def test_an_unknown_precision_is_refused(model):
    model.test_cfg['precision'] = 'int8'
    with pytest.raises(ValueError, match="'int8', expected one of fp32, bf16, fp16"):
        predict(model)
