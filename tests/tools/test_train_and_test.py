"""tools/train.py and tools/test.py: train, save, resume, evaluate, and refuse bad input."""

import json
from collections import defaultdict

import numpy as np
import pytest
import torch
from mmpose.apis import inference_topdown, init_model
from runs import TINY, sentence

from mspn_plugin import get_config

PIPELINE = 'train_dataloader.dataset.pipeline'
TWO = ['train_cfg.max_epochs=2', 'train_cfg.val_interval=2']
# Without random augmentation, so that the same person gives the same loss again.
PLAIN = [f'{PIPELINE}.{step}' for step in ('2.prob=0.0', '3.scale=(1,1)', '3.shift=0.0')]


def read_scalars(work_dir):
    """What the runs in a folder recorded: by name, the value at every step."""
    found = defaultdict(dict)
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for record in map(json.loads, path.read_text().splitlines()):
            for name, value in record.items():
                found[name][record['step']] = value
    return found


@pytest.fixture
def reads(monkeypatch):
    found, load = [], torch.load
    monkeypatch.setattr(torch, 'load', lambda file, **o: found.append(file) or load(file, **o))
    return found


def test_train_resume_evaluate_infer(call_tool, people, quick, tmp_path, reads):
    """One chain: what the runner writes is what the next step reads, weights-only and once."""
    options = ['--cfg-options', *quick, *PLAIN, *TWO]
    data = ['--data-root', people, '--gt-boxes']
    trained, again = tmp_path / 'work', tmp_path / 'again'
    call_tool('train', TINY, *data, '--work-dir', trained, *options)
    records = read_scalars(trained)
    first = records['loss']
    assert all(np.isfinite(list(first.values())))
    assert {'acc_pose', 'loss_s1_u3', 'coco/AP'} <= records.keys()

    # Resuming from the first epoch gives the losses that the second epoch had.
    resume = ['--work-dir', again, '--resume', trained / 'epoch_1.pth']
    call_tool('train', TINY, *data, *resume, *options)
    assert [str(file) for file in reads] == [str(trained / 'epoch_1.pth')]
    second = read_scalars(again)['loss']
    assert 0 < len(second) < len(first)
    assert second == pytest.approx({step: first[step] for step in second}, rel=1e-5)

    # Evaluation writes its numbers, the same as the validation of the training.
    out, checkpoint = tmp_path / 'metrics.json', trained / 'epoch_2.pth'
    evaluate = [TINY, checkpoint, *data, '--work-dir', tmp_path / 'evaluation']
    reads.clear()
    call_tool('test', *evaluate, '--out', out, '--cfg-options', *quick)
    numbers = json.loads(out.read_text())
    assert len(reads) == 1 and len(numbers) == 10
    assert numbers['coco/AP'] == pytest.approx(records['coco/AP'][2], abs=1e-6)

    # The newest checkpoint of a work folder is read once too: nothing is left to train.
    reads.clear()
    call_tool('train', TINY, *data, '--work-dir', trained, '--resume', *options)
    assert len(reads) == 1 and read_scalars(trained)['loss'].keys() == first.keys()

    # MMPose's own inference loads the same file.
    model = init_model(get_config(TINY), str(checkpoint), device='cpu')
    image = next((people / 'val2017').glob('*.jpg'))
    boxes = np.array([[10, 10, 100, 200], [50, 20, 120, 180]], np.float32)
    poses = inference_topdown(model, str(image), boxes)
    assert [pose.pred_instances.keypoints.shape for pose in poses] == [(1, 17, 2)] * 2


def test_bad_input_ends_with_a_sentence_and_writes_nothing(call_tool, capsys, people, tmp_path):
    work, no = tmp_path / 'work', tmp_path / 'no'
    data = ['--data-root', people, '--work-dir', work]
    good = [*data, '--gt-boxes']
    train = ['train', TINY]
    names = ('other.pth', 'text.pth', 'numbers.pth', 'broken.py')
    other, text, numbers, broken = (tmp_path / name for name in names)
    torch.save(dict(state_dict={'backbone.conv.weight': torch.zeros(3)}), other)
    text.write_text('not a checkpoint')
    torch.save([1, 2], numbers)
    broken.write_text('model = dict(')
    misfit = ('other.pth does not fit', 'backbone.conv.weight', 'of no network that is known')
    cases = [
        (['train', 'mspn-huge', *good], 'mspn-huge', TINY),
        ([*train, '--data-root', no, '--work-dir', work], f'{no} does not exist', '--data-root'),
        ([*train, *data], 'detected boxes', '--gt-boxes'),
        ([*train, *good, '--resume', tmp_path / 'no.pth'], 'no.pth does not exist'),
        ([*train, *good, '--resume', other], *misfit),
        (['test', TINY, other, *good], *misfit),
        (['test', TINY, text, *good], 'text.pth cannot be read'),
        (['test', TINY, numbers, *good], 'holds no weights'),
        (['test', TINY, other, '--out', no / 'x.json'], f'{no} does not exist'),
        (['test', TINY, other, '--out', tmp_path], f'{tmp_path} is a folder'),
        (['train', broken], 'cannot be read as an MMEngine config'),
    ]
    if not torch.cuda.is_available():
        cases.append(([*train, *good, '--amp'], '--amp fp16 needs a CUDA device'))
    for arguments, *words in cases:
        message = sentence(capsys, call_tool, *arguments)
        assert all(word in message for word in words), message
    assert not work.exists()


@pytest.mark.slow
def test_the_full_size_model_trains_on_photographs(call_tool, real_data, quick, tmp_path):
    config = 'mspn50-2stg_8xb32-210e_coco-256x192'
    options = [
        *(option for option in quick if 'batch_size' not in option),
        *(f'{PIPELINE}.4.{step}_prob=0' for step in ('shift', 'scale', 'rotate')),
        *(f'{PIPELINE}.{step}.prob=0.0' for step in (2, 3)),
        *(f'train_dataloader.{it}' for it in ('batch_size=2', 'dataset.indices=4')),
        *(*TWO, 'model.backbone.init_cfg=None'),
    ]
    common = [config, '--data-root', real_data, '--no-validate']
    call_tool('train', *common, '--work-dir', tmp_path / 'a', '--cfg-options', *options)
    first = read_scalars(tmp_path / 'a')['loss']
    assert len(first) == 4 and all(np.isfinite(list(first.values())))
    checkpoint = tmp_path / 'a' / 'epoch_1.pth'
    saved = torch.load(checkpoint)  # weights-only, as is torch's default
    moments = [state['exp_avg_sq'] for state in saved['optimizer']['state'].values()]
    weights = [name for name in saved['state_dict'] if name.endswith(('.weight', '.bias'))]
    assert len(moments) == len(weights)
    assert all(moment.any() for moment in moments)  # every parameter got a gradient
    resumed = ['--work-dir', tmp_path / 'b', '--resume', checkpoint]
    call_tool('train', *common, *resumed, '--cfg-options', *options)
    wanted = {step: first[step] for step in (3, 4)}
    assert read_scalars(tmp_path / 'b')['loss'] == pytest.approx(wanted, rel=1e-4)
