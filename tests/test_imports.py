"""What importing does, in fresh processes: any order ends well or with a sentence."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def python(code):
    command = [sys.executable, '-W', 'ignore', '-c', code]
    return subprocess.run(command, capture_output=True, text=True)


def assert_explained(done, *words):
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('mspn.errors.MissingPackage: ') and all(word in last for word in words)


@pytest.mark.parametrize(
    'code',
    [
        'import mspn_plugin, mmpose.apis, mmdet.apis',
        'import mmengine, mmcv, mmpose, mmdet, torch; import mspn_plugin; import mmdet.apis',
        'import mspn_plugin; from mspn_plugin.engine import SafeCheckpointHook',
        'from mmpose.registry import MODELS; MODELS._imported = True; import mspn_plugin',
    ],
)
def test_importing_ends_well(code):
    check = """
from mmengine.registry import FUNCTIONS, HOOKS, MODELS as ROOT, DefaultScope
from mmpose import registry as r
parts = {ROOT: 'mmpose.MSPNPoseEstimator', r.MODELS: 'MSPNBackbone', r.HOOKS: 'SafeCheckpointHook',
         r.KEYPOINT_CODECS: 'MultiLevelHeatmap', r.DATASETS: 'CocoPersonDataset',
         r.TRANSFORMS: 'GuardedLoading', r.DATA_SAMPLERS: 'ResumableBatchSampler',
         FUNCTIONS: 'collate_people'}
assert all(registry.get(name).__name__ in name for registry, name in parts.items())
assert r.MODELS.get('ResNet') and r.HOOKS.get('CheckpointHook') and 'NoSuchPart' not in r.MODELS
with DefaultScope.overwrite_default_scope('mmpose'):
    HOOKS.build(dict(type='SafeCheckpointHook'))
"""
    done = python(code + check)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    'first',
    ['mmpose.registry.TRANSFORMS.get("LoadPersonImage")', 'FUNCTIONS.get("collate_people")'],
)
def test_each_registry_finds_its_parts_without_another_being_asked_first(first):
    start = 'import mspn_plugin, mmpose.registry; from mmengine.registry import FUNCTIONS'
    done = python(f'{start}\nassert {first}.__module__.startswith("mspn_plugin")')
    assert done.returncode == 0, done.stderr


def test_importing_leaves_the_models_of_mmpose_and_mmdet_for_later():
    done = python(
        'import mspn_plugin, sys; from mmengine.runner.checkpoint import CheckpointLoader\n'
        'print({"mmpose.models", "mmdet", "matplotlib", "scipy.stats"} & set(sys.modules))\n'
        'for name in ("a.ckpt", "a.safetensors"):\n'
        '    print(CheckpointLoader._get_checkpoint_loader(name).__module__)'
    )
    imported, *loaders = done.stdout.splitlines()
    assert imported == 'set()' and len(loaders) == 2
    assert all(loader.startswith('mspn_plugin.checkpoints') for loader in loaders)


@pytest.mark.parametrize('first', ['mmpose.apis', 'mmdet.models'])
def test_after_a_failed_import_of_mmpose_a_sentence_says_what_to_import_first(first):
    done = python(
        f'try:\n    import {first}\nexcept Exception as error: print(type(error).__name__)\n'
        'import mspn_plugin, mmpose.apis\nprint("well")'
    )
    if 'well' not in done.stdout:
        assert_explained(done, '`import mspn_plugin` above')


def test_parts_that_are_registered_twice_are_explained():
    done = python(
        'import mspn_plugin; from mmpose.registry import MODELS\n'
        'MODELS._module_dict["MSPN"] = type("MSPN", (), {})\nMODELS.get("MSPNBackbone")'
    )
    assert_explained(done, '`import mspn_plugin` above')


@pytest.mark.parametrize(
    ('missing', 'then'), [('mmpose', ''), ('scipy', 'mmpose.registry.MODELS.get("MSPNNeck")')]
)
def test_a_missing_package_is_named_with_the_remedy(missing, then):
    done = python(
        f'import sys; sys.modules.update(dict.fromkeys(["mmdet", "{missing}"]))\n'
        f'import mspn_plugin, mmpose.registry; {then}'
    )
    assert_explained(done, missing, 'python -m mspn.doctor')
