"""What importing does, in fresh processes: any order ends well or with a sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest


def python(code):
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    'code',
    [
        'import mspn_plugin, mmpose.apis, mmdet.apis',
        'import mmengine, mmcv, mmpose, mmdet, torch; import mspn_plugin; import mmdet.apis',
    ],
)
def test_importing_ends_well(code):
    done = python(
        code + '\nfrom mmpose.registry import MODELS; MODELS.get("MSPNBackbone").__name__'
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_after_a_failed_import_of_mmpose_a_sentence_says_what_to_import_first():
    done = python(
        'try:\n    import mmpose.apis\nexcept Exception as error: print(type(error).__name__)\n'
        'import mspn_plugin, mmpose.apis\nprint("well")'
    )
    if done.returncode == 0:
        assert 'well' in done.stdout
    else:
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith('ImportError: ') and '`import mspn_plugin` above' in last


@pytest.mark.slow
def test_a_missing_package_is_named_with_the_remedy():
    done = python(
        'import sys; sys.modules["mmdet"] = None; sys.modules["mmpose"] = None; import mspn_plugin'
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('ImportError: ') and 'mmpose' in last and 'mspn_plugin.doctor' in last
