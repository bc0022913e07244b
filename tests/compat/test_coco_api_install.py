"""Who answers for the name xtcocotools: the real one if it imports, else the folder in compat."""

import importlib.util
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from mspn_plugin.compat import coco_api

GAP = coco_api.install()


@pytest.mark.skipif(not GAP.active, reason='the real xtcocotools is installed')
def test_modules_have_real_specs_and_installing_again_changes_nothing():
    import xtcocotools
    import xtcocotools.mask as masks

    before = list(sys.meta_path)
    assert coco_api.install() == GAP
    assert sys.meta_path == before
    assert Path(xtcocotools.__file__).is_file()
    assert {m.name for m in pkgutil.iter_modules(xtcocotools.__path__)} == {
        'coco',
        'cocoeval',
        'mask',
    }
    for name in ('xtcocotools', 'xtcocotools.coco', 'xtcocotools.cocoeval', 'xtcocotools.mask'):
        assert importlib.util.find_spec(name).loader is not None
        assert importlib.import_module(name).__spec__.name == name
    assert sys.modules['xtcocotools.coco'].COCO.__module__ == 'xtcocotools.coco'
    square = masks.frPyObjects([[0, 0, 4, 0, 4, 4, 0, 4]], 8, 8)
    assert masks.decode(masks.merge(square)).sum() == masks.area(square)[0] == 16


def run_isolated(code, *folders):
    """Runs code in a fresh Python with `mspn_plugin.compat` but without registering components."""
    stub = (
        'import sys, types\n'
        "parent = sys.modules['mspn_plugin'] = types.ModuleType('mspn_plugin')\n"
        f'parent.__path__ = [{str(Path(coco_api.__file__).parents[2])!r}]\n'
        'from mspn_plugin.compat import coco_api\n'
    )
    return subprocess.run(
        [sys.executable, '-c', stub + code],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split('\n')


def fake_xtcocotools(folder, body):
    package = folder / 'xtcocotools'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text('')
    (package / '_mask.py').write_text(body)
    for name in ('coco', 'cocoeval'):
        (package / f'{name}.py').write_text('from . import _mask\nORIGINAL = True\n')
    return folder


SHOW = """
gap = coco_api.install()
again = coco_api.install()
from xtcocotools import coco, cocoeval
print(gap.active, again == gap, hasattr(coco, 'ORIGINAL'), hasattr(cocoeval, 'ORIGINAL'))
print(sorted(name for name in sys.modules if name.startswith('xtcocotools')))
"""


def test_an_xtcocotools_that_imports_is_left_alone(tmp_path):
    verdict, *_ = run_isolated(SHOW, fake_xtcocotools(tmp_path, ''))
    assert verdict == 'False True True True'


def test_an_xtcocotools_built_for_another_numpy_is_replaced(tmp_path):
    wheel = fake_xtcocotools(tmp_path, "raise ValueError('numpy.dtype size changed')")
    verdict, modules, *_ = run_isolated(SHOW, wheel)
    assert verdict == 'True True False False'
    assert modules == "['xtcocotools', 'xtcocotools.coco', 'xtcocotools.cocoeval']"


def test_missing_pycocotools_is_told_and_not_hidden():
    blocked = """
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: (
    None if name in ('pycocotools', 'xtcocotools') else real(name, *rest)
)
print(coco_api.install())
"""
    gap, *_ = run_isolated(blocked)
    assert 'active=False' in gap and 'pip install pycocotools' in gap
