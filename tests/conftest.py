"""Shared by all tests: threads, MMPose's registries, and the data that some tests use."""

import functools
import http.server
import importlib.util
import os
import sys
import threading
from pathlib import Path

# Before torch: the tests run in parallel processes, and the machine's cores are shared.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from runs import NO_WORKERS
from synthetic_people import make_synthetic_people

from mspn_plugin import get_config
from mspn_plugin.apis.detector import read_detector_config

from mmpose.apis import init_model  # isort: skip
from mmpose.registry import MODELS  # isort: skip  # after the plugin, which closes the gaps
from mmpose.visualization import PoseLocalVisualizer  # isort: skip

REPOSITORY = Path(__file__).resolve().parent.parent
TINY = 'mspn-tiny_1xb16-20e_coco-128x96'

torch.set_num_threads(1)
# Seconds: the workers of a training before are not waited for, when the collector finds them.
torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = 0.1


def pytest_collection_modifyitems(config, items):
    """Leaves the nightly tests out unless the command line speaks of them.

    Two processes get a half each: either begins with slow tests, so that both end together.
    """
    if 'nightly' not in config.getoption('markexpr'):
        left_out = [item for item in items if item.get_closest_marker('nightly')]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker('nightly')]
    slow = [item for item in items if item.get_closest_marker('slow')]
    quick = [item for item in items if not item.get_closest_marker('slow')]
    half = len(quick) // 2
    items[:] = slow[::2] + quick[:half] + slow[1::2] + quick[half:]


@pytest.fixture(autouse=True)
def _mmpose_scope():
    init_default_scope('mmpose')


@pytest.fixture(scope='session')
def real_data() -> Path:
    """A small part of COCO beside the repository; tests that need it are skipped without it."""
    folder = REPOSITORY.parent / 'shared' / 'data' / 'coco'
    if not folder.is_dir():
        pytest.skip(f'the real photographs are not at {folder}')
    return folder


@pytest.fixture(scope='session')
def people(tmp_path_factory) -> Path:
    """A handful of synthetic people in COCO's layout."""
    root = tmp_path_factory.mktemp('people')
    make_synthetic_people(root, num_train=6, num_val=3, seed=5, workers=1)
    return root


@pytest.fixture(scope='session')
def untrained_models(tmp_path_factory) -> tuple[Path, Path, str, Path]:
    """Config and weights of a random detector that finds something everywhere, and a pose model."""
    mmdet_apis = pytest.importorskip('mmdet.apis')
    folder = tmp_path_factory.mktemp('models')
    config = read_detector_config('rtmdet_tiny_8xb32-300e_coco')
    config.model.bbox_head.num_classes = 1
    sizes = {'Resize': dict(scale=(64, 64)), 'Pad': dict(size=(64, 64))}
    for step in config.test_dataloader.dataset.pipeline:
        step.update(sizes.get(step.type, {}))
    config.dump(folder / 'rtmdet.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'), pytest.warns(UserWarning):
        detector = mmdet_apis.init_detector(config, None, device='cpu')
    for conv in detector.bbox_head.rtm_reg:
        torch.nn.init.constant_(conv.bias, 3.0)
    torch.save(detector.state_dict(), folder / 'rtmdet.pth')
    with DefaultScope.overwrite_default_scope('mmpose'):
        pose = MODELS.build(Config.fromfile(get_config(TINY)).model)
    torch.save(pose.state_dict(), folder / 'pose.pth')
    return folder / 'rtmdet.py', folder / 'rtmdet.pth', TINY, folder / 'pose.pth'


@pytest.fixture
def server(tmp_path):
    """The address of a web server on this machine, which serves the folder ``served``."""
    (tmp_path / 'served').mkdir()
    quiet = dict(log_message=lambda *_: None)
    handler = type('Quiet', (http.server.SimpleHTTPRequestHandler,), quiet)
    handler = functools.partial(handler, directory=str(tmp_path / 'served'))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{running.server_port}'
        running.shutdown()


@pytest.fixture(scope='session')
def calibrated_tiny():
    """Makes the tiny model with random weights whose heatmaps have clear peaks."""

    def make():
        torch.manual_seed(0)
        model = init_model(get_config(TINY), device='cpu')
        model.init_weights()
        model.train()
        with torch.no_grad():
            for _ in range(20):  # statistics for the normalisation
                model.head(model.neck(model.backbone(torch.randn(8, 3, 128, 96))))
        return model.eval()

    return make


@pytest.fixture
def load_tool():
    """Imports a script of ``tools/`` by its name."""

    def load(name: str):
        path = REPOSITORY / 'tools' / f'{name}.py'
        spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def call_tool(monkeypatch, load_tool):
    """Calls a script of ``tools/`` by its name in this process, as the command line would."""

    def call(name: str, *arguments: object) -> None:
        module = load_tool(name)
        monkeypatch.setattr(sys, 'argv', [module.__file__, *map(str, arguments)])
        # A new process would have none; a second runner would log into the first one's folder.
        PoseLocalVisualizer._instance_dict.clear()
        with DefaultScope.overwrite_default_scope('mmpose'):
            module.main()

    return call


@pytest.fixture
def quick() -> list[str]:
    """Options that make a training of the tiny model last seconds, and repeatable."""
    options = ['train_dataloader.batch_size=4', 'log_processor.window_size=1', 'randomness.seed=0']
    options += [f'default_hooks.{hook}.interval=1' for hook in ('logger', 'checkpoint')]
    return options + NO_WORKERS
