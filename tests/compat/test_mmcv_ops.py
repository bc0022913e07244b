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

from mspn_plugin.compat import mmcv_ops

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


def test_the_spec_is_real():
    spec = importlib.util.find_spec('mmcv._ext')
    assert spec is not None and spec.loader is not None
    assert spec.name == 'mmcv._ext'
    assert Path(spec.origin).name == 'provider.py'


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_openmmlab_sees_the_ops():
    assert pkgutil.find_loader('mmcv._ext') is not None
    assert importlib.import_module('mmcv.utils.ext_loader').check_ops_exist()
    assert importlib.import_module('mmengine.utils.dl_utils.misc').mmcv_full_available()


def test_nothing_else_is_answered():
    finder = mmcv_ops.ExtFinder()
    assert finder.find_spec('mmcv.ops', None) is None
    assert finder.find_spec('mmcv._ext2', None) is None


def test_install_is_idempotent():
    before = list(sys.meta_path)
    assert mmcv_ops.install() == GAP
    assert sys.meta_path == before
    assert sum(isinstance(finder, mmcv_ops.ExtFinder) for finder in before) == 1
    assert GAP.name == 'mmcv._ext' and 'torchvision' in GAP.detail


def test_the_environment_report_can_be_printed():
    assert 'torchvision' in ops.get_compiler_version()
    assert ops.get_compiling_cuda_version() == 'not available'


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


def test_it_helps_after_a_failed_import_of_any_mmcv(fake_mmcv):
    (fake_mmcv / 'mmcv' / 'ops.py').write_text('import mmcv._ext\n')
    script = """
    import importlib.util
    try:
        import mmcv.ops
    except ModuleNotFoundError as error:
        print(error.name)
    assert mmcv_ops.install().active
    print(importlib.util.find_spec('mmcv._ext').name)
    """
    assert run(script, python_path=fake_mmcv).splitlines() == ['mmcv._ext', 'mmcv._ext']


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


def test_a_module_that_is_already_loaded_stays(fake_mmcv):
    script = """
    sys.modules['mmcv._ext'] = types.ModuleType('mmcv._ext')
    before = list(sys.meta_path)
    print(mmcv_ops.install().active, sys.meta_path == before)
    """
    assert run(script, python_path=fake_mmcv) == 'False True'


def test_without_mmcv_nothing_happens():
    script = """
    sys.modules['mmcv'] = None
    before = list(sys.meta_path)
    gap = mmcv_ops.install()
    print(gap.active, sys.meta_path == before, gap.detail)
    """
    assert run(script) == 'False True mmcv is not installed'


@pytest.mark.parametrize('name', ['nms_rotated', 'carafe_forward', 'upfirdn2d'])
def test_missing_functions_say_what_to_do(name):
    function = getattr(importlib.import_module('mmcv._ext'), name)
    assert function.__name__ == name
    with pytest.raises(NotImplementedError, match=rf'mmcv\._ext\.{name} .*mim install "mmcv>=2'):
        function(1, key=2)


def test_missing_functions_are_reached_through_mmcv_ops():
    torch = importlib.import_module('torch')
    boxes = torch.rand(3, 5)
    with pytest.raises(NotImplementedError, match='nms_rotated.*C.. compiler.*CUDA toolkit'):
        ops.nms_rotated(boxes, torch.rand(3), 0.5)


def test_private_names_are_not_invented():
    assert not hasattr(importlib.import_module('mmcv._ext'), '__wrapped__')
