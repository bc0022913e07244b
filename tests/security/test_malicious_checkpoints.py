"""Whatever a checkpoint holds and wherever it is named, nothing in it runs, and it is refused."""

import pickle
import re

import pytest
import torch
from evil import PLACES, WRITERS, checkpoint, gadgets
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import get_torchvision_models
from mmpose.apis import MMPoseInferencer, init_model
from mmpose.registry import MODELS
from runs import TINY, sentence

from mspn_plugin import InputError, get_config
from mspn_plugin.apis.detector import PersonDetector
from mspn_plugin.checkpoints.files import read_state_dict
from mspn_plugin.checkpoints.resnet import load_resnet_into
from mspn_plugin.engine.start import check_weights_fit

TINY_FILE = get_config(TINY)
# Formats of which torch reads too little to name the object.
UNNAMED = ('tar', 'torchscript', 'zip, protocol 4', *(f'pickle, protocol {n}' for n in (0, 4, 5)))
# Kinds that need something of their own to do harm, such as a network.
HARMLESS_ALONE = ('import', 'runpy', 'torch.load', 'torch.hub', 'partial', 'methodcaller')


@pytest.fixture
def malicious(tmp_path):
    """Writes a malicious checkpoint; gives its path and the name that must be refused."""
    canary = tmp_path / 'canary'

    def write(kind='os.system', place='meta', writer='zip', name='evil.pth'):
        evil, refused = gadgets(canary)[kind]
        WRITERS[writer](checkpoint(evil, place), tmp_path / name)
        return tmp_path / name, refused

    yield write
    assert not canary.exists(), 'something in a file was run'


def refused(path, name):
    """A pattern of the sentence that names the file and the type."""
    return rf'(?s){path.name}.* refers to .*{re.escape(name)}.*nothing in the file was run'


EVERY_KIND = [(kind, place, 'zip') for kind in gadgets('') for place in ('meta', 'state_dict')]
EVERY_FORMAT = [('os.system', place, writer) for place in PLACES for writer in WRITERS]


@pytest.mark.parametrize(('kind', 'place', 'writer'), EVERY_KIND + EVERY_FORMAT)
def test_it_is_refused_and_named(kind, place, writer, malicious):
    path, name = malicious(kind, place, writer)
    or_else = f'|{path.name} cannot be read as a checkpoint' if writer in UNNAMED else ''
    with pytest.raises(InputError, match=refused(path, name) + or_else):
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
    file, words = str(path), None if writer == 'tar' else re.escape(name)
    cfg = Config.fromfile(get_config(TINY)).model
    initialised = Config(cfg)
    initialised.neck.init_cfg = dict(type='Pretrained', checkpoint=file)
    whole = dict(pose2d=TINY_FILE, pose2d_weights=file, det_model='whole_image', device='cpu')
    for load in (
        lambda: init_model(TINY_FILE, file, device='cpu'),
        lambda: MMPoseInferencer(**whole),
        lambda: MODELS.build(initialised).init_weights(),
    ):
        with pytest.raises((pickle.UnpicklingError, RuntimeError), match=words):
            load()
    with pytest.raises(InputError):
        check_weights_fit(file, cfg)
    with pytest.raises(InputError, match="the backbone's init_cfg"):
        load_resnet_into(torch.nn.Module(), file, num_stages=1)


def test_a_detector_refuses_it(malicious, untrained_models):
    from mmdet.apis import DetInferencer, init_detector

    config, *_ = untrained_models
    path, name = malicious()
    with pytest.raises(InputError, match=refused(path, name)):
        PersonDetector(config, path)
    for load, options in ((init_detector, {}), (DetInferencer, dict(show_progress=False))):
        with pytest.raises(pickle.UnpicklingError, match=re.escape(name)):
            load(str(config), str(path), device='cpu', **options)


@pytest.mark.parametrize('scheme', ['http', 'torchvision'])
@pytest.mark.parametrize('writer', ['zip', 'before zip', 'pickle, protocol 2'])
def test_from_a_url(scheme, writer, malicious, server, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    path, name = malicious(writer=writer)
    target, address = tmp_path / 'served' / path.name, f'{server}/{path.name}'
    if scheme == 'torchvision':  # as if it had been downloaded before
        address = 'torchvision://resnet50'
        cached = get_torchvision_models()['resnet50'].rsplit('/', 1)[1]
        target = tmp_path / 'home' / 'hub' / 'checkpoints' / cached
        target.parent.mkdir(parents=True)
    path.rename(target)
    with pytest.raises(InputError, match=f'refers to .*{name}.*nothing in the file was run'):
        read_state_dict(address)
    with pytest.raises(pickle.UnpicklingError, match=name):
        init_model(TINY_FILE, address, device='cpu')


@pytest.fixture(params=[False, True])
def _force(request, monkeypatch):
    if request.param:  # what some recommend against torch's refusal
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')


@pytest.mark.usefixtures('_force')
def test_every_tool_refuses_it(malicious, people, untrained_models, call_tool, capsys, tmp_path):
    config, detector, pose, weights = untrained_models
    evil, name = malicious('exec', 'optimizer')
    detections, work = tmp_path / 'detections.json', tmp_path / 'work'
    detections.write_text('[{"category_id": 1, "image_id": 7, "bbox": [9, 9, 60, 99], "score": 1}]')
    data = ['--data-root', people, '--gt-boxes', '--work-dir', work]
    out = ['--out', tmp_path / 'out', '--device', 'cpu']
    images = people / 'val2017'
    for arguments in (
        ('test', TINY, evil, *data),
        ('train', TINY, *data, '--resume', evil),
        ('train', TINY, *data, '--cfg-options', f'load_from={evil}'),
        ('convert_checkpoint', evil, tmp_path / 'converted.pth'),
        ('infer', pose, evil, images, '--det-file', detections, *out),
        ('topdown_demo', config, evil, pose, weights, '--input', images, *out),
        ('topdown_demo', config, detector, pose, evil, '--input', images, *out),
    ):
        assert re.search(refused(evil, name), sentence(capsys, call_tool, *arguments)), arguments
    assert not (tmp_path / 'converted.pth').exists() and not work.exists()
    # The newest checkpoint of the work folder is no exception.
    work.mkdir()
    (work / 'last_checkpoint').write_text(str(evil))
    assert name in sentence(capsys, call_tool, 'train', TINY, *data, '--resume')
