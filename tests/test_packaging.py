"""The wheel, the source distribution, the pinned list, and what mim sees once it is installed."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections import Counter
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def build(folder: Path, kind: str) -> Path:
    code = f'from setuptools import build_meta as b; print("made", b.build_{kind}("dist"))'
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / 'dist' / done.stdout.rpartition('made ')[2].strip()


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp('packaging') / 'source'
    skip = shutil.ignore_patterns('__pycache__', '.*', '*.egg-info')
    for name in ('mspn', 'mspn_plugin', 'configs', 'tools'):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    for name in 'setup.py pyproject.toml MANIFEST.in model-index.yml README.md LICENSE'.split():
        shutil.copy2(ROOT / name, folder)
    return folder


@pytest.fixture(scope='module')
def wheel(source):
    return build(source, 'wheel')


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith('/')}


def test_wheel_holds_what_mim_looks_for_from_the_source_distribution_too(wheel, source, tmp_path):
    inside = names_in(wheel)
    with tarfile.open(build(source, 'sdist')) as archive:
        archive.extractall(tmp_path, filter='data')
    (unpacked,) = tmp_path.iterdir()
    assert names_in(build(unpacked, 'wheel')) == inside
    mim = {name.partition('/.mim/')[2] for name in inside if '/.mim/' in name}
    files = [f for name in ('configs', 'tools') for f in (source / name).rglob('*') if f.is_file()]
    expected = {file.relative_to(source).as_posix() for file in files}
    assert mim == expected | {'model-index.yml'} > {'model-index.yml'}
    trees = [path for name in ('mspn', 'mspn_plugin') for path in (source / name).rglob('*.*')]
    own = {path.relative_to(source).as_posix() for path in trees if path.is_file()}
    packaged = {name for name in inside if '.dist-info/' not in name and '/.mim/' not in name}
    assert packaged == own > {'mspn/py.typed', 'mspn_plugin/py.typed'}, 'two packages, nothing else'
    count = Counter(name.rpartition('/')[2] for name in inside if name.endswith('.py'))
    configs = [name for name in inside if '/.mim/configs/' in name and name.endswith('.py')]
    assert all(count[name.rpartition('/')[2]] == 1 for name in configs), 'mim finds them by name'


def test_metadata_of_the_wheel_and_its_requirements_replace_nothing(wheel):
    with zipfile.ZipFile(wheel) as archive:
        info = f'{wheel.name.rpartition("-py3")[0]}.dist-info'
        fields = Parser().parsestr(archive.read(f'{info}/METADATA').decode())
        assert 'mspn = mspn.cli:main' in archive.read(f'{info}/entry_points.txt').decode()
    assert fields['Name'] == 'mspn_plugin', 'mim needs the name of the import'
    assert fields['License-Expression'] == 'Apache-2.0'
    assert fields['Author'] and 'Typing :: Typed' in fields.get_all('Classifier')
    assert {url.split(',')[0] for url in fields.get_all('Project-URL')} == {'Paper', 'MMPose'}
    required = [line.replace('"', "'") for line in fields.get_all('Requires-Dist')]
    needed = {line for line in required if 'extra ==' not in line}
    assert needed == {'numpy', 'pycocotools', 'safetensors', 'six'}
    names = {re.match(r'[\w.-]+', line).group() for line in required}
    assert not names & {'torch', 'torchvision', 'mmcv', 'mmcv-lite'}, 'not as an extra either'
    with_cv2 = [line for line in required if 'opencv' in line]
    assert all("extra == 'runtime'" in line for line in with_cv2), 'four share the name cv2'


def test_list_is_pinned_with_hashes_and_without_addresses():
    text = (ROOT / 'install' / 'requirements.txt').read_text()
    assert '://' not in text
    entries = [line for line in text.splitlines() if line and line[0] not in ' #']
    pinned = re.findall(r'^([a-z]\S*?)==(\S+)((?:.*\\\n)*.*)', text, re.M)
    assert len(entries) == len(pinned) > 50
    assert all(re.search(r'--hash=sha256:[0-9a-f]{64}', rest) for *_, rest in pinned)
    pins = {name: version for name, version, _ in pinned}
    assert (pins['torch'], pins['torchvision']) == ('2.11.0', '0.26.0')
    # Where the versions differ, uv falls back to the real dependency lists, without a word.
    listed = tomllib.loads((ROOT / 'install/uv.toml').read_text())['dependency-metadata']
    assert {entry['name']: entry['version'] for entry in listed}.items() <= pins.items()
