"""Pictures on a cluster: a local Ray, whose workers are killed; nothing is lost or done twice."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

import mspn
from mspn import cluster
from mspn.cli import main, make_parser

pa = pytest.importorskip('pyarrow')
ray = pytest.importorskip('ray')
from pyarrow import parquet  # noqa: E402

MSPN = Path(sys.executable).with_name('mspn')
PHOTOS = Path(__file__).parents[2] / 'examples' / 'photos'
DOCUMENTATION = PHOTOS.parents[1] / 'docs' / 'scale.md'
pytestmark = pytest.mark.slow


def start(source, out, *options):
    command = [MSPN, 'predict', source, '--engine', 'ray', '--out', out, '--workers', '2', *options]
    environment = {key: value for key, value in os.environ.items() if key != 'RAY_ADDRESS'}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, env=environment | {'OMP_NUM_THREADS': '1'}, **pipes)


def done(source, out, *options):
    process = start(source, out, *options)
    printed, said = process.communicate(timeout=300)
    assert 'Traceback' not in said, said
    return process.returncode, printed, said


def rows(out):
    """All rows, by the picture."""
    found = parquet.read_table(out).to_pylist()
    assert len({row['path'] for row in found}) == len(found)
    return {row['path']: row for row in found}


def same(row, people):
    assert (row['error'], len(row['people'])) == (None, len(people))
    for found, person in zip(row['people'], people, strict=True):
        points = np.reshape(found['keypoints'], (-1, 3))
        assert np.abs(points[:, :2] - person.keypoints).max() < 0.1
        assert found['score'] == pytest.approx(person.score, abs=1e-3)
        assert found['box'] == pytest.approx(person.box.tolist(), abs=0.1)


@pytest.fixture
def many(tmp_path):
    """60 pictures, of which three cannot be used."""
    source = tmp_path / 'source'
    (source / 'deep').mkdir(parents=True)
    for number in range(57):
        photo = PHOTOS / ('astronaut.jpg' if number % 3 == 0 else 'cameraman.jpg')
        shutil.copy(photo, source / ('deep' if number % 2 else '.') / f'{number:03d}.jpg')
    (source / 'text.jpg').write_text('no picture')
    (source / 'empty.png').touch()
    cv2.imwrite(str(source / 'long.png'), np.zeros((2, 33_000, 3), np.uint8))
    (source / '.hidden.jpg').write_text('hidden')
    (source / 'deep' / 'link').symlink_to(source)
    shutil.move(source / '002.jpg', source / '_DSC002.JPG')
    (source / 'notes.txt').write_text('not a picture')
    return source


def test_workers_that_die_lose_nothing(many, tmp_path):
    out = tmp_path / 'out'
    process = start(many, out, '--shard-size', '4')
    killed, end = set(), time.monotonic() + 120
    while len(killed) < 2 and time.monotonic() < end and process.poll() is None:
        time.sleep(0.1)
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(process.pid).children(recursive=True)
            workers = [p for p in family if 'MapWorker' in ''.join(p.cmdline()[:1])]
            if (fresh := [p for p in workers if p.pid not in killed]) and list(out.glob('part-*')):
                fresh[0].send_signal(signal.SIGKILL)
                killed.add(fresh[0].pid)
                time.sleep(2)
    printed, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert len(killed) == 2
    found = rows(out)
    assert len(found) == 60 and len(list(out.glob('part-*'))) == 15
    same(found['000.jpg'], mspn.predict(PHOTOS / 'astronaut.jpg'))
    same(found['deep/001.jpg'], mspn.predict(PHOTOS / 'cameraman.jpg'))
    bad = {path: row['error'] for path, row in found.items() if row['error']}
    assert set(bad) == {'text.jpg', 'empty.png', 'long.png'}
    assert '33000x2' in bad['long.png'] and 'cannot be read' in bad['text.jpg']
    assert '3 could not be used' in printed

    # Again: nothing is done.
    before = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    code, printed, _ = done(many, out, '--shard-size', '4')
    assert code == 0 and '15 shards, of which 15 are done' in printed
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == before

    # A shard that is gone, and new pictures: only those.
    (out / 'part-000003.parquet').unlink()
    shutil.copy(PHOTOS / 'astronaut.jpg', many / 'new.jpg')
    code, printed, _ = done(many, out, '--shard-size', '4')
    assert code == 0 and '16 shards, of which 14 are done' in printed
    again = rows(out)
    assert set(again) == {*found, 'new.jpg'}
    kept = {file: file.stat().st_mtime_ns for file in before if file.name.startswith('part')}
    kept = {file for file, when in kept.items() if when == before[file]}
    assert len(kept) == 14

    # Other settings would make a mixture.
    for options, expected in ((['--bbox-thr', '0.7'], 'bbox_thr'), (['--whole-image'], 'detector')):
        code, _, said = done(many, out, *options)
        assert code == 2 and f'other settings ({expected}' in said


def test_pictures_in_parquet(tmp_path):
    source, out = tmp_path / 'source', tmp_path / 'out'
    source.mkdir()
    contents = [(PHOTOS / name).read_bytes() for name in ('astronaut.jpg', 'cameraman.jpg')]
    plain = pa.table(dict(id=['a', 'b', 'c'], jpeg=[*contents, b'nothing']))
    parquet.write_table(plain, source / 'plain.parquet', row_group_size=2)
    images = [dict(bytes=content, path=f'{i}.jpg') for i, content in enumerate([*contents, None])]
    images.append(dict(bytes=contents[0], path='3.jpg'))
    parquet.write_table(pa.table(dict(image=images)), source / 'nested.parquet')
    parquet.write_table(pa.table(dict(number=[1, 2])), source / 'numbers.parquet')
    (source / 'broken.parquet').write_bytes(b'PAR1 and nothing')
    code, printed, said = done(source, out, '--whole-image')
    assert code == 0, said
    found = rows(out)
    assert '4 shards' in printed and '4 could not be used' in printed
    whole = mspn.predict(PHOTOS / 'astronaut.jpg', 'whole_image')
    for path in ('plain.parquet#a', 'nested.parquet#0.jpg', 'nested.parquet#3.jpg'):
        same(found[path], whole)
    assert found['plain.parquet#c']['error'] and 'no column' in found['numbers.parquet']['error']
    assert found['broken.parquet']['error']
    table = parquet.read_table(out / 'part-000000.parquet')
    assert b'left_shoulder' in table.schema.metadata[b'mspn']


def test_the_example_of_the_documentation(tmp_path, monkeypatch, capsys):
    text = DOCUMENTATION.read_text(encoding='utf-8')
    assert '\nmspn predict pictures --engine ray --out poses\n' in text
    shutil.copytree(PHOTOS, tmp_path / 'pictures')
    monkeypatch.chdir(tmp_path)
    code, _, said = done('pictures', 'poses')
    assert code == 0, said
    exec(re.search(r'```python\n(.*?)```', text, re.S)[1], {})
    assert re.match('2 pictures, [1-9] people, nose', capsys.readouterr().out)


def test_a_network_that_fails_is_no_bad_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, '_PAUSES', (0, 0))
    shutil.copytree(PHOTOS, tmp_path / 'source')
    plan = cluster._Plan(str(tmp_path / 'source'), str(tmp_path / 'out'), 10, {})
    with monkeypatch.context() as patch:
        patch.setattr('ray.get', lambda files: files)
        args = make_parser().parse_args(['predict', 'x'])
        worker = cluster._Worker(plan.place, cluster._model_files(args, {}), {}, False)
    shard = dict(shard=0, paths=plan.shards[0])
    failures = [OSError('timed out')] * 2
    read = type(plan.source).read

    def unsteady(place, name):
        if failures:
            raise failures.pop()
        return read(place, name)

    monkeypatch.setattr(type(plan.source), 'read', unsteady)
    assert worker(shard)['failed'] == [] and plan.missing() == []
    (tmp_path / 'out' / 'part-000000.parquet').unlink()
    failures += [OSError('timed out')] * 99
    result = worker(shard)
    assert 'timed out' in result['problem'] and plan.missing() == [0]
    failures.clear()
    (tmp_path / 'out' / '_plan.parquet').unlink()  # as on another machine
    assert 'does not see' in worker(shard)['problem'] and plan.missing() == [0]
    assert not [file for file in (tmp_path / 'out').iterdir() if 'partial' in file.name]


@pytest.mark.parametrize('highest', [1, 255])  # a few bytes, and as many as can be
def test_large_pictures_are_not_in_memory_together(tmp_path, monkeypatch, highest):
    (source := tmp_path / 'source').mkdir()
    noise = np.random.default_rng(0).integers(0, highest, (2000, 2000, 3), np.uint8)
    for number in range(24):
        cv2.imwrite(str(source / f'{number:02d}.jpg'), noise)
    (source / '12.jpg').write_bytes(bytes(2**21))  # no picture
    plan = cluster._Plan(str(source), str(tmp_path / 'out'), 30, {})
    monkeypatch.setattr('ray.get', lambda files: files)
    monkeypatch.setattr(cluster, '_MOST_PIXELS', 2 * noise.size // 3)
    args = make_parser().parse_args(['predict', 'x'])
    worker = cluster._Worker(plan.place, cluster._model_files(args, {}), {}, True)
    tracemalloc.start()
    try:
        found = worker(dict(shard=0, paths=plan.shards[0]))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found['failed'] == ['12.jpg'] and found['people'] == [1] * 12 + [0] + [1] * 11
    assert most < 5 * noise.nbytes + 13 * (source / '00.jpg').stat().st_size


def test_addresses_stay_as_they_are():
    args = make_parser().parse_args(['predict', 's3://bucket/a', '--out', 's3://bucket//b'])
    assert (args.input, args.out) == ('s3://bucket/a', 's3://bucket//b')


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['{photos}'], 'needs --out'),
        (['{photos}', '--out', '{out}', '--track'], '--track is not for --engine ray'),
        (['{photos}', '--out', '{out}', '--no-json'], '--json is not for --engine ray'),
        (['{out}/absent', '--out', '{out}'], 'cannot be listed'),
        (['{tmp}', '--out', '{out}'], 'neither pictures nor Parquet'),
        (['nowhere://bucket/a', '--out', '{out}'], 'cannot be reached'),
        (['{photos}', '--out', '{out}', '--model', 'absent.onnx'], 'absent.onnx does not exist'),
        (['{photos}', '--out', '{photos}/poses'], 'would lie in'),
        (['{odd}', '--out', '{out}'], 'is not UTF-8; rename it'),
        (['{photos}', '--out', '{out}', '--device', 'cuda'], 'the cluster has no GPU'),
    ],
)
def test_what_cannot_be_done(tmp_path, capsys, options, expected):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'odd').mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / 'odd') + b'/\xff.jpg')).touch()
    names = dict(photos=PHOTOS, out=tmp_path / 'out', tmp=tmp_path / 'empty', odd=tmp_path / 'odd')
    with pytest.raises(SystemExit) as ended:
        main(['predict', *(option.format(**names) for option in options), '--engine', 'ray'])
    ray.shutdown()
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err


def test_an_output_that_cannot_be_used(tmp_path, capsys):
    (tmp_path / 'a file').write_text('x')
    (tmp_path / 'damaged').mkdir()
    (tmp_path / 'damaged' / '_plan.parquet').write_text('x')
    for name in ('a file', 'damaged'):
        with pytest.raises(SystemExit) as ended:
            main(['predict', str(PHOTOS), '--engine', 'ray', '--out', str(tmp_path / name)])
        assert ended.value.code == 2
        assert re.search(f'{name} cannot be used: .*give another --out', capsys.readouterr().err)
