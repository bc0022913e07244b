"""The wheel, the source distribution, the pinned list, and what mim sees once it is installed."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections import Counter
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
PINNED = re.findall(
    r'^([a-z]\S*?)==(\S+)((?:.*\\\n)*.*)', (ROOT / 'install/requirements.txt').read_text(), re.M
)
SOURCES = ('mspn', 'mspn_plugin', 'configs', 'tools', 'model-index.yml', 'README.md', 'LICENSE')
BUILD_FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in')
NEVER_REQUIRED = {'torch', 'torchvision', 'mmcv', 'mmcv-lite'}


def build(folder: Path, kind: str) -> Path:
    """Builds the `wheel` or `sdist` of the sources in `folder`, offline, with this setuptools."""
    code = f'from setuptools import build_meta as b; print("made", b.build_{kind}("dist"))'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / 'dist' / done.stdout.rpartition('made ')[2].strip()


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp('packaging') / 'source'
    folder.mkdir()
    for name in (*SOURCES, *BUILD_FILES):
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns('__pycache__', '.*')
            shutil.copytree(ROOT / name, folder / name, ignore=skip)
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, folder)
    return folder


@pytest.fixture(scope='module')
def sdist(source):
    return build(source, 'sdist')


@pytest.fixture(scope='module')
def wheel(source):
    return build(source, 'wheel')


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith('/')}


def test_wheel_holds_what_mim_looks_for(wheel, source):
    inside = names_in(wheel)
    mim = {name.partition('/.mim/')[2] for name in inside if '/.mim/' in name}
    files = [f for name in ('configs', 'tools') for f in (source / name).rglob('*') if f.is_file()]
    expected = {file.relative_to(source).as_posix() for file in files}
    assert expected, 'no configs and tools beside setup.py'
    assert mim - {'model-index.yml'} == expected
    assert ('model-index.yml' in mim) == (source / 'model-index.yml').exists()
    modules = {f.relative_to(source).as_posix() for f in source.glob('mspn*/**/*.py')}
    modules |= {'mspn/py.typed', 'mspn_plugin/py.typed'}
    packaged = {name for name in inside if '.dist-info/' not in name and '/.mim/' not in name}
    assert packaged == modules
    tops = {PurePosixPath(name).parts[0] for name in inside if '.dist-info/' not in name}
    assert tops == {'mspn', 'mspn_plugin'}, 'nothing else may land in site-packages'


def test_each_config_has_a_name_of_its_own(wheel):
    inside = [PurePosixPath(name) for name in names_in(wheel) if name.endswith('.py')]
    count = Counter(path.name for path in inside)
    configs = [path for path in inside if '/.mim/configs/' in str(path)]
    doubled = [str(path) for path in configs if count[path.name] > 1]
    assert not doubled, f'mim finds configs by file name alone; rename one of each: {doubled}'


def test_metadata_of_the_wheel_and_its_requirements_replace_nothing(wheel):
    with zipfile.ZipFile(wheel) as archive:
        info = f'{wheel.name.rpartition("-py3")[0]}.dist-info'
        fields = Parser().parsestr(archive.read(f'{info}/METADATA').decode())
        assert 'mspn = mspn.cli:main' in archive.read(f'{info}/entry_points.txt').decode()
    assert fields['Name'] == 'mspn_plugin', 'mim needs the name of the import'
    assert fields['License-Expression'] == 'Apache-2.0'
    assert fields['Author'] and 'Typing :: Typed' in fields.get_all('Classifier')
    assert {url.split(',')[0] for url in fields.get_all('Project-URL')} == {'Paper', 'MMPose'}
    required = fields.get_all('Requires-Dist')
    names = {re.match(r'[\w.-]+', line).group(): 'extra ==' in line for line in required}
    needed = {name for name, extra in names.items() if not extra}
    assert needed == {'numpy', 'pycocotools', 'safetensors', 'six'}
    assert not names.keys() & NEVER_REQUIRED, 'not as an extra either'
    assert not any('opencv' in name for name in names), 'four distributions share the name cv2'
    assert any(
        line.startswith('protobuf') and "extra == 'mindspore'" in line.replace('"', "'")
        for line in required
    )


def test_source_distribution_gives_the_same_wheel(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter='data')
    (unpacked,) = tmp_path.iterdir()
    assert names_in(build(unpacked, 'wheel')) == names_in(wheel)


def test_list_is_pinned_with_hashes_and_without_addresses():
    text = (ROOT / 'install' / 'requirements.txt').read_text()
    assert '://' not in text
    entries = [line for line in text.splitlines() if line and line[0] not in ' #']
    assert len(entries) == len(PINNED) > 50
    unhashed = [
        name for name, _, rest in PINNED if not re.search(r'--hash=sha256:[0-9a-f]{64}', rest)
    ]
    assert not unhashed
    pins = {name: version for name, version, _ in PINNED}
    assert (pins['torch'], pins['torchvision']) == ('2.11.0', '0.26.0')
    # Where the versions differ, uv falls back to the real dependency lists, without a word.
    listed = tomllib.loads((ROOT / 'install/uv.toml').read_text())['dependency-metadata']
    assert {entry['name']: entry['version'] for entry in listed}.items() <= pins.items()


def test_installed_plugin_is_not_editable_and_mim_finds_it(tmp_path):
    code = """if True:
        import importlib.metadata, importlib.util, json, pathlib, warnings
        warnings.simplefilter('ignore')
        from mim.utils import get_installed_path
        path = pathlib.Path(get_installed_path('mspn_plugin'))
        installed = importlib.metadata.distribution('mspn_plugin')
        print('\\n' + json.dumps({
            'origin': importlib.util.find_spec('mspn_plugin').origin,
            'path': str(path),
            'mim': sorted(p.name for p in (path / '.mim').iterdir()),
            'url': installed.read_text('direct_url.json'),
        }))
    """
    command = [sys.executable, '-I', '-c', code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f'run `make setup` first\n{done.stderr}'
    found = json.loads(done.stdout.splitlines()[-1])
    assert Path(found['origin']).parent == Path(found['path'])
    assert 'site-packages' in Path(found['path']).parts
    assert found['url'] is None, 'installed from a folder; `make setup` installs from a wheel'
    assert {'configs', 'tools'} <= set(found['mim'])
