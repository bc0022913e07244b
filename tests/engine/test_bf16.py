"""Training in bf16 on a CPU: what computes in which precision, and where it is refused."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from runs import TINY, logged, sentence

from mspn_plugin import get_config
from mspn_plugin.commands import train as command


def batch(count=4):
    torch.manual_seed(1)
    samples = []
    for _ in range(count):
        labels = InstanceData()
        labels.keypoint_cells = torch.rand(1, 17, 2) * 40 + 4
        labels.keypoint_weights = torch.ones(1, 17)
        samples.append(PoseDataSample(gt_instance_labels=labels))
    return dict(
        inputs=[torch.randint(0, 255, (3, 128, 96), dtype=torch.uint8)] * count,
        data_samples=samples,
    )


def step(kind):
    """A training step with an optimizer's wrapper: losses, and the types of numbers."""
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(get_config(TINY)).model)
    model.init_weights()
    model.train()
    types, head = set(), set()
    for module in model.backbone.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: types.add(out.dtype))
    model.head.final_loss.register_forward_hook(
        lambda _, given, out: head.update((given[0].dtype, out.dtype))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    wrapper = OPTIM_WRAPPERS.build(dict(type=kind, optimizer=optimizer))
    before = next(model.parameters()).clone()
    losses = model.train_step(batch(), wrapper)
    assert not torch.equal(before, next(model.parameters()))
    return float(losses['loss']), types, head


def test_the_network_computes_in_bf16_and_the_losses_do_not():
    wanted, types, head = step('OptimWrapper')
    assert types == head == {torch.float32}
    found, types, head = step('CpuBf16OptimWrapper')
    assert types == {torch.bfloat16} and head == {torch.float32}
    assert found == pytest.approx(wanted, rel=0.02)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='here a GPU would do it')
def test_the_command(train, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, 'cpu_has_bf16', lambda: True)
    options = ['train_cfg.max_epochs=1']
    train(tmp_path / 'work', *options, arguments=['--amp', 'bf16', '--no-validate'])
    assert (tmp_path / 'work' / 'epoch_1.pth').is_file()
    assert 'CpuBf16OptimWrapper' in logged(tmp_path / 'work')
    error = sentence(capsys, train, tmp_path / 'b', arguments=['--amp', '--no-validate'])
    assert '--amp fp16 needs a CUDA device, and there is none; give --amp bf16' in error
    monkeypatch.setattr(command, 'cpu_has_bf16', lambda: False)
    error = sentence(capsys, train, tmp_path / 'b', arguments=['--amp', 'bf16'])
    assert error.endswith('--amp bf16 needs a CUDA device, and there is none; train without it')
