"""The light half is light: nothing heavy is imported, and the command answers at once."""

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


def run(*arguments):
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def test_no_module_imports_torch_or_openmmlab():
    run('-c', IMPORT_ALL)


@pytest.mark.parametrize('arguments', [['-h'], ['predict', '-h'], ['--version']])
def test_the_command_answers_at_once(arguments):
    assert min(timeit.repeat(lambda: run('-m', 'mspn', *arguments), number=1)) <= 0.3
