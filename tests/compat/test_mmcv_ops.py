"""The seam itself: who answers for ``mmcv._ext``, and what the answer looks like."""

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

from mspn_plugin.compat import StandIn, mmcv_ops

GAP = mmcv_ops.install()
if not GAP.active:
    pytest.skip(GAP.detail, allow_module_level=True)
ops = importlib.import_module('mmcv.ops')

# Run in subprocesses: loads the package of finders alone, without the rest of mspn_plugin, whose
# import would install the finder before the script can look.
LOAD_ALONE = f"""
import importlib.util, sys, types
root = {str(Path(mmcv_ops.__file__).parents[2])!r}
package = types.ModuleType('mspn_plugin')
package.__path__ = [root]
sys.modules['mspn_plugin'] = package
from mspn_plugin.compat import mmcv_ops
"""


def run(script: str, *, python_path: Path | None = None) -> str:
    environment = dict(os.environ, PYTHONWARNINGS='error::UserWarning,error::ImportWarning')
    if python_path is not None:
        environment['PYTHONPATH'] = str(python_path)
    result = subprocess.run(
        [sys.executable, '-c', LOAD_ALONE + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def fake_mmcv(tmp_path):
    """A folder with a package called mmcv, as if it were installed there."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').write_text('')
    return tmp_path


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_openmmlab_sees_the_ops():
    spec = importlib.util.find_spec('mmcv._ext')
    assert spec.loader is not None and spec.name == 'mmcv._ext'
    assert Path(spec.origin).name == 'ext.py'
    assert pkgutil.find_loader('mmcv._ext') is not None
    assert importlib.import_module('mmcv.utils.ext_loader').check_ops_exist()
    assert importlib.import_module('mmengine.utils.dl_utils.misc').mmcv_full_available()
    assert 'torchvision' in ops.get_compiler_version()
    assert ops.get_compiling_cuda_version() == 'not available'


def test_install_is_idempotent_and_answers_for_nothing_else():
    before = list(sys.meta_path)
    assert mmcv_ops.install() == GAP and sys.meta_path == before
    (finder,) = [f for f in before if isinstance(f, StandIn) and f.name == 'mmcv._ext']
    assert finder.find_spec('mmcv.ops', None) is finder.find_spec('mmcv._ext2', None) is None
    assert GAP.name == 'mmcv._ext' and 'torchvision' in GAP.detail


def test_installing_imports_neither_mmcv_nor_torchvision():
    script = """
    assert mmcv_ops.install().active
    print(sorted({'mmcv', 'mmcv.ops', 'torch', 'torchvision'} & set(sys.modules)))
    """
    assert run(script) == '[]'


@pytest.mark.slow  # torch, mmcv and torchvision in a fresh process
def test_it_helps_after_a_failed_import_of_mmcv_ops():
    script = """
    import mmcv
    try:
        import mmcv.ops
    except ModuleNotFoundError as error:
        print(error.name)
    assert mmcv_ops.install().active
    import mmcv.ops
    print(mmcv.ops.nms.__module__)
    """
    assert run(script).splitlines() == ['mmcv._ext', 'mmcv.ops.nms']


def test_compiled_mmcv_wins(fake_mmcv):
    (fake_mmcv / 'mmcv' / '_ext.py').write_text("REAL = 'compiled'\n")
    script = """
    before = list(sys.meta_path)
    gap = mmcv_ops.install()
    assert 'mmcv._ext' not in sys.modules and 'mmcv' not in sys.modules, 'it was imported'
    assert not gap.active and sys.meta_path == before, gap
    from mmcv import _ext
    print(_ext.REAL)
    """
    assert run(script, python_path=fake_mmcv) == 'compiled'


def test_compiled_mmcv_wins_even_if_it_comes_later(fake_mmcv):
    script = f"""
    from pathlib import Path
    assert mmcv_ops.install().active
    Path({str(fake_mmcv)!r}, 'mmcv', '_ext.py').write_text("REAL = 'compiled'")
    assert not mmcv_ops.install().active
    from mmcv import _ext
    print(_ext.REAL)
    """
    assert run(script, python_path=fake_mmcv) == 'compiled'


@pytest.mark.parametrize('module', ["types.ModuleType('mmcv._ext')", 'None'])
def test_a_module_that_is_already_loaded_stays_and_without_mmcv_nothing_happens(module, fake_mmcv):
    script = f"""
    sys.modules['mmcv._ext' if {module} else 'mmcv'] = {module}
    before = list(sys.meta_path)
    gap = mmcv_ops.install()
    print(gap.active, sys.meta_path == before, gap.detail)
    """
    told = 'found at sys.modules' if module != 'None' else 'mmcv is not installed'
    assert run(script, python_path=fake_mmcv) == f'False True {told}'


@pytest.mark.parametrize('name', ['nms_rotated', 'carafe_forward', 'bbox_overlaps'])
def test_missing_functions_say_what_to_do(name):
    function = getattr(importlib.import_module('mmcv._ext'), name)
    assert function.__name__ == name
    with pytest.raises(NotImplementedError, match=rf'mmcv\._ext\.{name} .*mim install "mmcv>=2'):
        function(1, key=2)


def test_missing_functions_are_reached_through_mmcv_ops_and_private_names_are_not_invented():
    with pytest.raises(NotImplementedError, match='nms_rotated.*C.. compiler.*CUDA toolkit'):
        ops.nms_rotated(torch.rand(3, 5), torch.rand(3), 0.5)
    with pytest.raises(NotImplementedError, match='roi_align_forward with pool_mode "max"'):
        ops.roi_align(torch.rand(1, 1, 4, 4), torch.zeros(1, 5), 2, 1.0, 0, 'max', True)
    assert not hasattr(importlib.import_module('mmcv._ext'), '__wrapped__')
