"""What importing does, in fresh processes: any order ends well or with a sentence."""

import multiprocessing
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.slow

# Its processes have torch already, which takes half of the time, and nothing of OpenMMLab.
FRESH = multiprocessing.get_context('forkserver')
FRESH.set_forkserver_preload(['torchvision', 'torch.distributed.optim'])
TO_FILES = (
    'import os; os.dup2(os.open({!r}, 577, 0o644), 1); os.dup2(os.open({!r}, 577, 0o644), 2)\n'
)


@pytest.fixture
def python(tmp_path):
    """Runs code in a fresh process; gives its exit status and what it printed."""
    files = [tmp_path / name for name in ('stdout', 'stderr')]

    def run(code):
        process = FRESH.Process(target=exec, args=(TO_FILES.format(*map(str, files)) + code,))
        process.start()
        process.join()
        stdout, stderr = (file.read_text() for file in files)
        return SimpleNamespace(returncode=process.exitcode, stdout=stdout, stderr=stderr)

    return run


def assert_explained(done, *words):
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('mspn.errors.MissingPackage: ') and all(word in last for word in words)


def test_importing_ends_well_and_leaves_the_models_of_mmpose_and_mmdet_for_later(python):
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
    # Each registry finds its parts without another being asked first.
    start = 'import mspn_plugin, mmpose.registry as r; from mmengine.registry import FUNCTIONS'
    for code in (
        f'import mspn_plugin, mmpose.apis, mmdet.apis{check}',
        f'import mmengine, mmcv, mmpose, mmdet; import mspn_plugin; import mmdet.apis{check}',
        f'import mspn_plugin; from mspn_plugin.engine import SafeCheckpointHook{check}',
        f'from mmpose.registry import MODELS; MODELS._imported = True; import mspn_plugin{check}',
        f'{start}; assert "mspn_pl" in r.TRANSFORMS.get("LoadPersonImage").__module__',
        f'{start}; assert "mspn_pl" in FUNCTIONS.get("collate_people").__module__',
    ):
        done = python(code)
        assert done.returncode == 0, done.stderr
    done = python(
        'import mspn_plugin, sys; from mmengine.runner.checkpoint import CheckpointLoader\n'
        'print({"mmpose.models", "mmdet", "matplotlib", "scipy.stats"} & set(sys.modules))\n'
        'for name in ("a.ckpt", "a.safetensors"):\n'
        '    print(CheckpointLoader._get_checkpoint_loader(name).__module__)'
    )
    imported, *loaders = done.stdout.splitlines()
    assert imported == 'set()' and len(loaders) == 2
    assert all(loader.startswith('mspn_plugin.checkpoints') for loader in loaders)


def test_after_a_failed_import_or_with_parts_registered_twice_a_sentence_says_what_to_do(python):
    for first in ('mmpose.apis', 'mmdet.models'):
        failed = f'try:\n    import {first}\nexcept Exception: pass'
        done = python(f'{failed}\nimport mspn_plugin, mmpose.apis\nprint("well")')
        if 'well' not in done.stdout:
            assert_explained(done, '`import mspn_plugin` above')
    twice = 'MODELS._module_dict["MSPN"] = type("MSPN", (), {}); MODELS.get("MSPNBackbone")'
    done = python(f'import mspn_plugin; from mmpose.registry import MODELS; {twice}')
    assert_explained(done, '`import mspn_plugin` above')


def test_a_missing_package_is_named_with_the_remedy(python):
    for missing, then in (('mmpose', ''), ('scipy', 'mmpose.registry.MODELS.get("MSPNNeck")')):
        hide = f'import sys; sys.modules.update(mmdet=None, {missing}=None)'
        done = python(f'{hide}; import mspn_plugin, mmpose.registry; {then}')
        assert_explained(done, missing, 'python -m mspn.doctor')
