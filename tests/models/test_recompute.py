"""with_cp keeps less for the backward pass; the step that is taken is the same."""

from __future__ import annotations

import torch
from mmpose.registry import MODELS


def trained(*, with_cp):
    """A network after two steps, and the bytes that its forward pass kept for the backward one."""
    torch.manual_seed(0)
    backbone = MODELS.build(
        dict(
            type='MSPNBackbone',
            num_stages=2,
            num_blocks=(2, 2),
            stem_channels=8,
            base_channels=8,
            unit_channels=8,
            with_cp=with_cp,
        )
    )
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    kept: dict[int, int] = {}

    def count(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for _ in range(2):
        images = torch.randn(4, 3, 64, 48)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            outputs = backbone(images)
        size = sum(kept.values())
        loss = sum(unit.square().mean() for units in outputs for unit in units)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return backbone, size


def test_the_same_step_with_less_memory():
    plain, all_bytes = trained(with_cp=False)
    recomputed, fewer_bytes = trained(with_cp=True)
    assert fewer_bytes < 0.7 * all_bytes
    wanted = plain.state_dict()
    found = recomputed.state_dict()
    assert found.keys() == wanted.keys()
    assert int(found['stem.bn.num_batches_tracked']) == 2
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, atol=1e-6), name
    with torch.no_grad():
        images = torch.randn(1, 3, 64, 48)
        assert torch.allclose(plain.eval()(images)[-1][-1], recomputed.eval()(images)[-1][-1])
