"""Who answers for ``mmcv._ext`` and ``xtcocotools``: the real ones if they import, else compat."""

import importlib
import importlib.util
import os
import pkgutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from mspn_plugin.compat import StandIn, coco_api, mmcv_ops

GAPS = {'mmcv._ext': mmcv_ops.install(), 'xtcocotools': coco_api.install()}
pytestmark = pytest.mark.skipif(
    not all(gap.active for gap in GAPS.values()), reason='a real one is installed'
)

# Loads the stand-ins without the rest of mspn_plugin, whose import would install them.
LOAD_ALONE = f"""
import importlib.util, sys, types
from pathlib import Path
package = sys.modules['mspn_plugin'] = types.ModuleType('mspn_plugin')
package.__path__ = [{str(Path(mmcv_ops.__file__).parents[2])!r}]
from mspn_plugin.compat import coco_api, mmcv_ops
before = list(sys.meta_path)
"""


def run(script: str, folder: Path | None = None) -> str:
    env = dict(os.environ, PYTHONWARNINGS='error::UserWarning,error::ImportWarning')
    env |= {'PYTHONPATH': str(folder)} if folder else {}
    command = [sys.executable, '-c', LOAD_ALONE + textwrap.dedent(script)]
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def fake_mmcv(tmp_path):
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').touch()
    return tmp_path


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_openmmlab_sees_the_ops_and_the_three_modules_of_xtcocotools():
    ops = importlib.import_module('mmcv.ops')
    assert pkgutil.find_loader('mmcv._ext') is not None
    assert importlib.import_module('mmcv.utils.ext_loader').check_ops_exist()
    assert importlib.import_module('mmengine.utils.dl_utils.misc').mmcv_full_available()
    assert 'torchvision' in ops.get_compiler_version()
    assert ops.get_compiling_cuda_version() == 'not available'
    assert 'torchvision' in GAPS['mmcv._ext'].detail
    package = importlib.import_module('xtcocotools')
    assert {m.name for m in pkgutil.iter_modules(package.__path__)} == {'coco', 'cocoeval', 'mask'}
    masks = importlib.import_module('xtcocotools.mask')
    square = masks.frPyObjects([[0, 0, 4, 0, 4, 4, 0, 4]], 8, 8)
    assert masks.decode(masks.merge(square)).sum() == masks.area(square)[0] == 16


@pytest.mark.parametrize('module', [mmcv_ops, coco_api])
def test_specs_are_real_and_installing_again_changes_nothing(module):
    before, gap = list(sys.meta_path), module.install()
    assert gap == GAPS[gap.name] and sys.meta_path == before
    (finder,) = [f for f in before if isinstance(f, StandIn) and f.name == gap.name]
    assert finder.find_spec('mmcv.ops', None) is finder.find_spec(f'{gap.name}2', None) is None
    spec = importlib.util.find_spec(gap.name)
    assert spec.loader is not None and spec.name == gap.name and Path(spec.origin) == finder.file
    assert importlib.import_module(gap.name).__spec__.name == gap.name


@pytest.mark.parametrize('later', [False, True])
def test_compiled_mmcv_wins_even_if_it_comes_later(later, fake_mmcv):
    script = f"""
    if {later}:
        assert mmcv_ops.install().active
    Path({str(fake_mmcv)!r}, 'mmcv', '_ext.py').write_text("REAL = 'compiled'")
    gap = mmcv_ops.install()
    assert not {{'mmcv', 'mmcv._ext', 'torch', 'torchvision'}} & set(sys.modules), 'imported'
    assert not gap.active and ({later} or sys.meta_path == before), gap
    from mmcv import _ext
    print(_ext.REAL)
    """
    assert run(script, fake_mmcv) == 'compiled'


def test_a_loaded_module_stays_and_without_mmcv_or_pycocotools_nothing_happens(fake_mmcv):
    show = 'gap = mmcv_ops.install(); print(gap.active, sys.meta_path == before, gap.detail)'
    for module, told in (
        ("['mmcv._ext'] = types.ModuleType('mmcv._ext')", 'found at sys.modules'),
        ("['mmcv'] = None", 'mmcv is not installed'),
    ):
        assert run(f'sys.modules{module}; {show}', fake_mmcv) == f'False True {told}'
    script = "sys.modules['pycocotools'] = sys.modules['xtcocotools'] = None"
    gap = run(f'{script}; print(coco_api.install())')
    assert 'active=False' in gap and 'pip install pycocotools' in gap


def test_missing_functions_say_what_to_do_and_private_names_are_not_invented():
    ops, stand_in = (importlib.import_module(name) for name in ('mmcv.ops', 'mmcv._ext'))
    for name in ('nms_rotated', 'carafe_forward', 'bbox_overlaps'):
        function = getattr(stand_in, name)
        assert function.__name__ == name
        told = rf'mmcv\._ext\.{name} .*mim install "mmcv>=2.*C.. compiler.*CUDA toolkit'
        with pytest.raises(NotImplementedError, match=told):
            function(1, key=2)
    with pytest.raises(NotImplementedError, match='nms_rotated'):
        ops.nms_rotated(torch.rand(3, 5), torch.rand(3), 0.5)
    with pytest.raises(NotImplementedError, match='roi_align_forward with pool_mode "max"'):
        ops.roi_align(torch.rand(1, 1, 4, 4), torch.zeros(1, 5), 2, 1.0, 0, 'max', True)
    assert not hasattr(stand_in, '__wrapped__')


@pytest.mark.parametrize(('body', 'replaced'), [('', False), ("raise ValueError('size')", True)])
def test_a_real_xtcocotools_is_left_alone_unless_it_does_not_import(body, replaced, tmp_path):
    (tmp_path / 'xtcocotools').mkdir()
    original = 'from . import _mask\nORIGINAL = True\n'
    for name, text in dict(__init__='', _mask=body, coco=original, cocoeval=original).items():
        (tmp_path / 'xtcocotools' / f'{name}.py').write_text(text)
    show = """
    gap, again = coco_api.install(), coco_api.install()
    from xtcocotools import coco, cocoeval
    print(gap.active, again == gap, hasattr(coco, 'ORIGINAL'), hasattr(cocoeval, 'ORIGINAL'))
    assert ('xtcocotools._mask' in sys.modules) == hasattr(coco, 'ORIGINAL')
    """
    assert run(show, tmp_path) == f'{replaced} True {not replaced} {not replaced}'
