"""tools/train.py and tools/test.py: train, save, resume, evaluate, and refuse bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from demo.curve import read_scalars
from mmpose.apis import MMPoseInferencer, inference_topdown, init_model
from runs import TINY, sentence

from mspn_plugin import get_config

# Without random augmentation, so that the same person gives the same loss again.
PLAIN = [
    'train_dataloader.dataset.pipeline.2.prob=0.0',
    'train_dataloader.dataset.pipeline.3.scale=(1,1)',
    'train_dataloader.dataset.pipeline.3.shift=0.0',
]


def losses(work_dir):
    training, _ = read_scalars(work_dir)
    return training['loss']


@pytest.fixture
def trained(call_tool, people, quick, tmp_path):
    """The work folder of two epochs of training."""
    work = tmp_path / 'work'
    options = [*quick, *PLAIN, 'train_cfg.max_epochs=2', 'train_cfg.val_interval=2']
    data = ['--data-root', people, '--gt-boxes']
    call_tool('train', TINY, *data, '--work-dir', work, '--cfg-options', *options)
    return work


@pytest.fixture
def reads(monkeypatch):
    """Every file that torch reads."""
    found, load = [], torch.load

    def counted(file, *arguments, **options):
        found.append(file)
        return load(file, *arguments, **options)

    monkeypatch.setattr(torch, 'load', counted)
    return found


def test_train_resume_evaluate_infer(trained, call_tool, people, quick, tmp_path, reads):
    """One chain: what the runner writes is what the next step reads, weights-only and once."""
    first = losses(trained)
    assert all(np.isfinite(list(first.values())))
    training, validation = read_scalars(trained)
    assert 'acc_pose' in training and 'loss_s1_u3' in training and 'coco/AP' in validation

    # Resuming from the first epoch gives the losses that the second epoch had.
    again = tmp_path / 'again'
    options = [*quick, *PLAIN, 'train_cfg.max_epochs=2', 'train_cfg.val_interval=2']
    data = ['--data-root', people, '--gt-boxes']
    resume = ['--resume', trained / 'epoch_1.pth']
    call_tool('train', TINY, *data, '--work-dir', again, *resume, '--cfg-options', *options)
    assert [str(file) for file in reads] == [str(trained / 'epoch_1.pth')]
    second = losses(again)
    assert 0 < len(second) < len(first)
    for step, loss in second.items():
        assert loss == pytest.approx(first[step], rel=1e-5)

    # Evaluation writes its numbers, the same as the validation of the training.
    out = tmp_path / 'metrics.json'
    checkpoint = trained / 'epoch_2.pth'
    evaluate = [TINY, checkpoint, *data, '--work-dir', tmp_path / 'evaluation']
    reads.clear()
    call_tool('test', *evaluate, '--out', out, '--cfg-options', *quick)
    assert len(reads) == 1
    numbers = json.loads(out.read_text())
    assert len(numbers) == 10
    assert numbers['coco/AP'] == pytest.approx(validation['coco/AP'][2], abs=1e-6)

    # The newest checkpoint of a work folder is read once too: nothing is left to train.
    reads.clear()
    resume = ['--work-dir', trained, '--resume']
    call_tool('train', TINY, *data, *resume, '--cfg-options', *options)
    assert len(reads) == 1 and losses(trained).keys() == first.keys()

    # MMPose's own inference loads the same file.
    model = init_model(get_config(TINY), str(checkpoint), device='cpu')
    image = next((people / 'val2017').glob('*.jpg'))
    boxes = np.array([[10, 10, 100, 200], [50, 20, 120, 180]], np.float32)
    poses = inference_topdown(model, str(image), boxes)
    assert [pose.pred_instances.keypoints.shape for pose in poses] == [(1, 17, 2)] * 2
    inferencer = MMPoseInferencer(
        pose2d=get_config(TINY),
        pose2d_weights=str(checkpoint),
        det_model='whole_image',
        device='cpu',
    )
    result = next(inferencer(str(image), show=False))
    assert np.array(result['predictions'][0][0]['keypoints']).shape == (17, 2)


def test_bad_input_ends_with_a_sentence_and_writes_nothing(
    call_tool, capsys, people, quick, tmp_path
):
    work = tmp_path / 'work'
    good = ['--data-root', people, '--gt-boxes', '--work-dir', work]
    train = ('train', TINY)

    message = sentence(capsys, call_tool, 'train', 'mspn-huge', *good)
    assert 'mspn-huge' in message and TINY in message
    message = sentence(
        capsys, call_tool, *train, '--data-root', tmp_path / 'no', '--work-dir', work
    )
    assert f'{tmp_path / "no"} does not exist' in message and '--data-root' in message
    message = sentence(capsys, call_tool, *train, '--data-root', people, '--work-dir', work)
    assert 'detected boxes' in message and '--gt-boxes' in message
    message = sentence(capsys, call_tool, *train, *good, '--resume', tmp_path / 'no.pth')
    assert 'no.pth does not exist' in message

    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict={'backbone.conv.weight': torch.zeros(3)}), other)
    for arguments in ([*train, *good, '--resume', other], ['test', TINY, other, *good]):
        message = sentence(capsys, call_tool, *arguments)
        assert 'other.pth does not fit' in message and 'backbone.conv.weight' in message
        assert 'of no network that is known' in message

    text = tmp_path / 'text.pth'
    text.write_text('not a checkpoint')
    assert 'text.pth cannot be read' in sentence(capsys, call_tool, 'test', TINY, text, *good)
    numbers = tmp_path / 'numbers.pth'
    torch.save([1, 2], numbers)
    assert 'holds no weights' in sentence(capsys, call_tool, 'test', TINY, numbers, *good)
    message = sentence(capsys, call_tool, 'test', TINY, other, '--out', tmp_path / 'no' / 'x.json')
    assert f'{tmp_path / "no"} does not exist' in message
    if not torch.cuda.is_available():
        assert '--amp needs a CUDA device' in sentence(capsys, call_tool, *train, *good, '--amp')

    broken = tmp_path / 'broken.py'
    broken.write_text('model = dict(')
    assert 'cannot be read as an MMEngine config' in sentence(capsys, call_tool, 'train', broken)
    assert not work.exists()


@pytest.mark.slow
def test_the_full_size_model_trains_on_photographs_and_resumes(
    call_tool, real_data, quick, tmp_path
):
    config = 'mspn50-2stg_8xb32-210e_coco-256x192'
    options = [
        *(option for option in quick if 'batch_size' not in option),
        *PLAIN[:1],
        'train_dataloader.batch_size=2',
        'train_dataloader.dataset.indices=4',
        'train_dataloader.dataset.pipeline.3.prob=0.0',
        'train_dataloader.dataset.pipeline.4.shift_prob=0',
        'train_dataloader.dataset.pipeline.4.scale_prob=0',
        'train_dataloader.dataset.pipeline.4.rotate_prob=0',
        'train_cfg.max_epochs=2',
        'model.backbone.init_cfg=None',
    ]
    common = [config, '--data-root', real_data, '--no-validate']
    call_tool('train', *common, '--work-dir', tmp_path / 'a', '--cfg-options', *options)
    first = losses(tmp_path / 'a')
    assert len(first) == 4 and all(np.isfinite(list(first.values())))
    checkpoint = tmp_path / 'a' / 'epoch_1.pth'
    saved = torch.load(checkpoint)  # weights-only, as is torch's default
    moments = [state['exp_avg_sq'] for state in saved['optimizer']['state'].values()]
    weights = [name for name in saved['state_dict'] if name.endswith(('.weight', '.bias'))]
    assert len(moments) == len(weights)
    assert all(moment.any() for moment in moments)  # every parameter got a gradient
    resumed = ['--work-dir', tmp_path / 'b', '--resume', checkpoint]
    call_tool('train', *common, *resumed, '--cfg-options', *options)
    second = losses(tmp_path / 'b')
    assert sorted(second) == [3, 4]
    for step, loss in second.items():
        assert loss == pytest.approx(first[step], rel=1e-4)
