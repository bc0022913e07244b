"""Whatever a checkpoint holds and wherever it is named, nothing in it runs, and it is refused."""

from __future__ import annotations

import pickle
import re

import pytest
import torch
from evil import PLACES, WRITERS, gadgets
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpose.apis import MMPoseInferencer, init_model
from mmpose.registry import MODELS
from runs import TINY, sentence

from mspn_plugin import InputError, get_config
from mspn_plugin.apis.detector import PersonDetector
from mspn_plugin.checkpoints.files import read_state_dict
from mspn_plugin.checkpoints.resnet import load_resnet_into
from mspn_plugin.engine.start import check_weights_fit

# Formats of which torch reads too little to name the object.
UNNAMED = ('tar', 'torchscript', 'zip, protocol 4', *(f'pickle, protocol {n}' for n in (0, 4, 5)))
# Kinds that need something of their own to do harm, such as a network.
HARMLESS_ALONE = ('import', 'runpy', 'torch.load', 'torch.hub', 'partial', 'methodcaller')


def refused(path, name):
    """A pattern of the sentence that names the file and the type."""
    return rf'(?s){path.name}.* refers to .*{re.escape(name)}.*nothing in the file was run'


@pytest.mark.parametrize('kind', gadgets('unused'))
@pytest.mark.parametrize('place', ['meta', 'state_dict'])
def test_every_kind_is_refused_and_named(kind, place, malicious):
    path, name = malicious(kind, place)
    with pytest.raises(InputError, match=refused(path, name)):
        read_state_dict(str(path))


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('writer', WRITERS)
def test_in_every_place_and_every_format(place, writer, malicious):
    path, name = malicious(place=place, writer=writer)
    words = refused(path, name)
    if writer in UNNAMED:
        words += f'|{path.name} cannot be read as a checkpoint'
    with pytest.raises(InputError, match=words):
        read_state_dict(str(path))


@pytest.mark.parametrize('suffix', ['ckpt', 'safetensors', 'bin', 'PTH'])
@pytest.mark.parametrize('writer', ['zip', 'before zip', 'pickle, protocol 2'])
def test_under_another_name(suffix, writer, malicious):
    path, name = malicious(writer=writer, name=f'evil.{suffix}')
    with pytest.raises(InputError, match=refused(path, name)):
        read_state_dict(str(path))
    with pytest.raises((InputError, pickle.UnpicklingError), match=re.escape(name)):
        load_checkpoint(MODELS.build(Config.fromfile(get_config(TINY)).model), str(path))


@pytest.mark.parametrize('kind', [k for k in gadgets('unused') if k not in HARMLESS_ALONE])
def test_these_kinds_do_harm_to_whoever_loads_everything(kind, tmp_path):
    """Otherwise the tests above would prove nothing."""
    path = tmp_path / 'made'
    made = pickle.loads(pickle.dumps(gadgets(path)[kind][0]))
    if hasattr(made, 'wait'):
        made.wait()
    assert path.exists()


@pytest.mark.parametrize('writer', ['zip', 'before zip', 'pickle, protocol 2', 'tar'])
def test_mmpose_and_mmengine_refuse_it_too(writer, malicious):
    path, name = malicious(writer=writer)
    words = None if writer == 'tar' else re.escape(name)
    with pytest.raises((pickle.UnpicklingError, RuntimeError), match=words):
        init_model(get_config(TINY), str(path), device='cpu')
    with pytest.raises((pickle.UnpicklingError, RuntimeError), match=words):
        MMPoseInferencer(
            pose2d=get_config(TINY),
            pose2d_weights=str(path),
            det_model='whole_image',
            device='cpu',
        )
    cfg = Config.fromfile(get_config(TINY)).model
    with pytest.raises(InputError):
        check_weights_fit(str(path), cfg)
    cfg.neck.init_cfg = dict(type='Pretrained', checkpoint=str(path))
    with pytest.raises((pickle.UnpicklingError, RuntimeError), match=words):
        MODELS.build(cfg).init_weights()
    with pytest.raises(InputError, match="the backbone's init_cfg"):
        load_resnet_into(torch.nn.Module(), str(path), num_stages=1)


def test_a_detector_refuses_it(malicious, untrained_models):
    from mmdet.apis import DetInferencer, init_detector

    config, *_ = untrained_models
    path, name = malicious()
    with pytest.raises(InputError, match=refused(path, name)):
        PersonDetector(config, path)
    with pytest.raises(pickle.UnpicklingError, match=re.escape(name)):
        init_detector(str(config), str(path), device='cpu')
    with pytest.raises(pickle.UnpicklingError, match=re.escape(name)):
        DetInferencer(str(config), str(path), device='cpu', show_progress=False)


@pytest.mark.parametrize('scheme', ['http', 'torchvision'])
@pytest.mark.parametrize('writer', ['zip', 'before zip', 'pickle, protocol 2'])
def test_from_a_url(scheme, writer, malicious, server, tmp_path, monkeypatch):
    """MMEngine itself loads what it downloads without any restriction."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    path, name = malicious(writer=writer)
    if scheme == 'http':
        path.rename(tmp_path / 'served' / path.name)
        address = f'{server}/{path.name}'
    else:  # as if it had been downloaded before
        from mmengine.runner.checkpoint import get_torchvision_models

        cached = get_torchvision_models()['resnet50'].rsplit('/', 1)[1]
        folder = tmp_path / 'home' / 'hub' / 'checkpoints'
        folder.mkdir(parents=True)
        path.rename(folder / cached)
        address = 'torchvision://resnet50'
    with pytest.raises(InputError, match=f'refers to .*{name}.*nothing in the file was run'):
        read_state_dict(address)
    with pytest.raises(pickle.UnpicklingError, match=name):
        init_model(get_config(TINY), address, device='cpu')


@pytest.fixture
def attempts(malicious, people, untrained_models, tmp_path):
    """By name: the arguments of a tool that is given a malicious checkpoint, and that file."""
    config, detector, pose, weights = untrained_models
    evil, name = malicious('exec', 'optimizer')
    detections = tmp_path / 'detections.json'
    detections.write_text('[{"category_id": 1, "image_id": 7, "bbox": [9, 9, 60, 99], "score": 1}]')
    data = ['--data-root', people, '--gt-boxes', '--work-dir', tmp_path / 'work']
    images = people / 'val2017'
    demo = ['--input', images, '--out', tmp_path / 'out', '--device', 'cpu']
    infer = [images, '--det-file', detections, '--out', tmp_path / 'out', '--device', 'cpu']
    tools = dict(
        test=('test', TINY, evil, *data),
        resume=('train', TINY, *data, '--resume', evil),
        load_from=('train', TINY, *data, '--cfg-options', f'load_from={evil}'),
        convert=('convert_checkpoint', evil, tmp_path / 'converted.pth'),
        infer=('infer', pose, evil, *infer),
        demo_detector=('topdown_demo', config, evil, pose, weights, *demo),
        demo_pose=('topdown_demo', config, detector, pose, evil, *demo),
    )
    return tools, evil, name


@pytest.mark.parametrize('force', [False, True])
@pytest.mark.parametrize(
    'tool', ['test', 'resume', 'load_from', 'convert', 'infer', 'demo_detector', 'demo_pose']
)
def test_every_tool_refuses_it_in_a_sentence(
    tool, force, attempts, call_tool, capsys, tmp_path, monkeypatch
):
    if force:  # what some recommend against torch's refusal
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    tools, evil, name = attempts
    assert re.search(refused(evil, name), sentence(capsys, call_tool, *tools[tool]))
    assert not (tmp_path / 'converted.pth').exists()
    assert not (tmp_path / 'work').exists()


def test_resume_auto_refuses_it_too(attempts, call_tool, capsys, people, tmp_path, quick):
    """The newest checkpoint of the work folder is no exception."""
    _, evil, name = attempts
    work = tmp_path / 'work'
    work.mkdir()
    (work / 'last_checkpoint').write_text(str(evil))
    data = ['--data-root', people, '--gt-boxes', '--work-dir', work]
    assert name in sentence(capsys, call_tool, 'train', TINY, *data, '--resume')
