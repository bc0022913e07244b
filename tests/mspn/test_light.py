"""The light half is light: nothing heavy is imported, and the command answers at once."""

import functools
import subprocess
import sys
import timeit

import pytest

IMPORT_ALL = """
import importlib, pkgutil, sys, mspn
heavy = {'torch', 'torchvision', 'mmengine', 'mmcv', 'mmpose', 'mmdet', 'mspn_plugin'}
assert not heavy & set(sys.modules)
for module in pkgutil.walk_packages(mspn.__path__, 'mspn.'):
    if module.name != 'mspn.__main__':
        importlib.import_module(module.name)
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_no_module_imports_torch_or_openmmlab():
    subprocess.run([sys.executable, '-c', IMPORT_ALL], check=True)


@pytest.mark.parametrize('arguments', [['-h'], ['predict', '-h'], ['--version']])
def test_the_command_answers_at_once(arguments):
    command = [sys.executable, '-m', 'mspn', *arguments]
    run = functools.partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
    assert min(timeit.repeat(run, number=1)) <= 0.3
