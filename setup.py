"""Puts what mim looks for into the package; everything else about it stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
MIM_SOURCES = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Copies the configs, the tools and the model index to `mspn_plugin/.mim` of the wheel.

    OpenMMLab's usual way puts links or copies into the source tree; this one leaves it as it is.
    An editable install gets no `.mim`: mim does not see editable packages anyway.
    """

    def run(self):
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib, 'mspn_plugin', '.mim')
        shutil.rmtree(mim, ignore_errors=True)  # what an earlier build left
        mim.mkdir(parents=True)
        for source in (ROOT / name for name in MIM_SOURCES):
            if source.is_dir():
                skip = shutil.ignore_patterns('__pycache__', '*.py[cod]', '.*')
                shutil.copytree(source, mim / source.name, ignore=skip)
            elif source.exists():
                shutil.copy2(source, mim)


setup(cmdclass={'build_py': BuildWithMim})
