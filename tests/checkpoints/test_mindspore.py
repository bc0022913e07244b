"""MindSpore's checkpoints, written here byte by byte after protobuf's encoding rules."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.apis import init_model

import mspn_plugin
from mspn_plugin import InputError, get_config
from mspn_plugin.checkpoints.mindspore import (
    OPTIMIZER_STATE,
    looks_like_mindspore,
    read_mindspore,
)

DATA = Path(__file__).resolve().parents[1] / 'data'


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; negative numbers as 64 bits."""
    number %= 2**64
    digits = []
    while number >= 128:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes([*digits, number])


def field(number: int, payload: bytes) -> bytes:
    return varint(number * 8 + 2) + varint(len(payload)) + payload


def tensor(dims, content: bytes, kind: str = 'Float32') -> bytes:
    sizes = b''.join(varint(8) + varint(size) for size in dims)
    return sizes + field(2, kind.encode()) + field(3, content)


def entry(name: str, dims, content: bytes, kind: str = 'Float32') -> bytes:
    return field(1, field(1, name.encode()) + field(2, tensor(dims, content, kind)))


def floats(count: int) -> bytes:
    return np.random.default_rng(count).standard_normal(count).astype('<f4').tobytes()


def checksum(entries: bytes) -> bytes:
    return b'crc_num' + struct.pack('>HQ', 0, zlib.crc32(entries))


GOOD = entry('conv.weight', [2, 1, 3, 3], floats(18)) + entry('bn.gamma', [2], floats(2))


@pytest.fixture
def write(tmp_path):
    def write(content: bytes, name: str = 'mspn.ckpt') -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def bits(value: torch.Tensor) -> bytes:
    assert value.dtype == torch.float32 and value.device.type == 'cpu' and value.is_contiguous()
    return value.numpy().astype('<f4').tobytes()


# --- what is read


def test_every_bit_comes_back(write):
    special = np.array([0x7FC12345, 0x80000000, 1, 0xFF800000], '<u4').tobytes()  # NaN, -0, tiny
    expected = {
        'conv.weight': ((3, 2, 5, 7), floats(210)),
        'bn.moving_mean': ((4,), special),
        'cube': ((2, 3, 4), floats(24)),
        'dense': ((1, 1), floats(1)),
    }
    path = write(b''.join(entry(name, *value) for name, value in expected.items()))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = read_mindspore(path)
    assert list(found) == list(expected)
    for name, (shape, content) in expected.items():
        assert (tuple(found[name].shape), bits(found[name])) == (shape, content)


@pytest.mark.parametrize('dims', [[], [0]])
def test_a_scalar_has_no_sizes_or_a_zero(write, dims):
    found = read_mindspore(write(entry('scale', dims, struct.pack('<f', 0.1))))
    assert found['scale'].shape == () and found['scale'] == torch.tensor(0.1)


@pytest.mark.parametrize(
    'name', ['-1', '-weight', ' ', 'a b', 'größe.权重', "it's", 'x' * 5000, 'a\nb', '0']
)
def test_any_name_will_do(write, name):
    assert list(read_mindspore(write(entry(name, [1], floats(1))))) == [name]


@pytest.mark.parametrize('count', [31, 32, 4095, 4096, 600_000])  # lengths of one to four bytes
def test_long_entries(write, count):
    found = read_mindspore(write(entry('w', [count], floats(count)) + entry('v', [1], floats(1))))
    assert bits(found['w']) == floats(count) and bits(found['v']) == floats(1)


def test_other_encodings_of_the_same_message(write):
    inside = field(2, tensor([2, 3], floats(6))) + field(1, b'w')  # in another order
    content = b'\x8a\x00' + bytes([len(inside) % 128 + 128, 0x80, 0x00]) + inside
    assert len(inside) < 128
    found = read_mindspore(write(content))['w']
    assert found.shape == (2, 3) and bits(found) == floats(6)


def test_the_tensors_have_their_own_memory(write):
    path = write(GOOD)
    found = read_mindspore(path)
    path.write_bytes(bytes(len(GOOD)))
    found['conv.weight'].mul_(2)
    assert np.array_equal(
        found['conv.weight'].flatten().numpy(), 2 * np.frombuffer(floats(18), '<f4')
    )


def test_counters_are_left_out_and_the_optimizer_can_be(write):
    counters = (
        entry('global_step', [1], struct.pack('<i', 96000), 'Int32')
        + entry('epoch_num', [0], struct.pack('<q', 5), 'Int64')
        + entry('done', [], b'\1', 'Bool')
        + entry('note', [], b'a\0\0\0', 'str')
    )
    state = {'moment1.conv.weight', 'moment2.bn.gamma', 'beta1_power', 'learning_rate', 'moments.a'}
    more = b''.join(entry(name, [1], floats(1)) for name in sorted(state))
    found = read_mindspore(write(counters + GOOD + more))
    assert {name for name in found if not OPTIMIZER_STATE.fullmatch(name)} == {
        'conv.weight',
        'bn.gamma',
    }
    assert found.keys() == {'conv.weight', 'bn.gamma'} | state
    for name in ('global_step', 'epoch_num', 'scale_sense', 'beta2_power', 'learning_rate_group_1'):
        assert OPTIMIZER_STATE.fullmatch(name)
    for name in ('stat', 'net.moment1.weight', 'moment10.weight', 'step_num.weight', 'top.conv.b'):
        assert not OPTIMIZER_STATE.fullmatch(name)


def test_a_checksum_may_stand_at_the_end(write):
    assert read_mindspore(write(GOOD + checksum(GOOD))).keys() == {'conv.weight', 'bn.gamma'}
    changed = bytearray(GOOD)
    changed[-1] ^= 1  # in the last number, where protobuf sees nothing
    path = write(bytes(changed) + checksum(GOOD))
    with pytest.raises(InputError, match=f'at byte {len(GOOD)} is not the CRC-32') as caught:
        read_mindspore(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize('cut', [0, 17], ids=['with checksum', 'without'])
def test_a_file_of_mindspore_itself(write, cut):
    """MindSpore 2.10 wrote it, of Conv2d(2, 3, 3, has_bias=True) and BatchNorm2d(3)."""
    content = (DATA / 'mindspore_small.ckpt').read_bytes()
    path = write(content[: len(content) - cut])
    shapes = {'conv.weight': (3, 2, 3, 3), 'conv.bias': (3,), 'bn.moving_mean': (3,)}
    shapes |= {'bn.moving_variance': (3,), 'bn.gamma': (3,), 'bn.beta': (3,)}
    assert looks_like_mindspore(path)
    found = read_mindspore(path)
    assert list(found) == [*shapes, 'learning_rate', 'one']  # and neither the counters nor a text
    count = 0
    for key, shape in shapes.items():  # its numbers are -3, -2.875, -2.75 and so on
        expected = (torch.arange(count, count + math.prod(shape)) / 8 - 3).reshape(shape)
        assert torch.equal(found[key], expected)
        count += math.prod(shape)
    assert (found['learning_rate'].item(), found['one'].item()) == (pytest.approx(0.0005), 0.5)


# --- what is refused


AT = len(GOOD)  # where the broken entry begins
WHOLE = entry('late', [4], floats(4))
BROKEN = {
    'cut in the content': (WHOLE[:-5], f'expected {len(WHOLE) - 2} bytes for field 1'),
    'cut in the length': (entry('late', [90], floats(90))[:2], 'found the end of the file'),
    'cut after the key': (WHOLE[:1], 'found the end of the file'),
    'cut in the key': (b'\x8a', 'found the end of the file'),
    'endless length': (b'\n' + b'\xff' * 20, 'a number of more than 10 bytes'),
    'length beyond all': (b'\n' + varint(2**63), f'expected {2**63} bytes'),
    'another field': (field(2, b'late'), 'expected bytes in field 1, found field 2'),
    'another wire type': (varint(8) + varint(3), 'expected bytes in field 1'),
    'zeros, as of a disk': (bytes(64), 'found field 0'),
    'no message': (field(1, b'\xff' * 9), 'the end of the file or message'),
    'message cut short': (field(1, WHOLE[2:-2]), 'bytes for field 2, found'),
    'no name': (field(1, field(2, tensor([1], floats(1)))), 'expected an entry with a name'),
    'name of no text': (field(1, field(1, b'\xff\xfe')), "'utf-8' codec can't decode"),
    'no tensor': (field(1, field(1, b'late')), "expected a tensor for 'late'"),
    'no type': (
        field(1, field(1, b'late') + field(2, field(3, floats(1)))),
        "for 'late', found none with a tensor_type",
    ),
    'no content': (
        field(1, field(1, b'late') + field(2, field(2, b'Float32'))),
        "for 'late', found none with a tensor_content",
    ),
    'half precision': (entry('late', [4], bytes(8), 'Float16'), "for 'late', found Float16"),
    'half-precision scalar': (entry('late', [], bytes(2), 'BFloat16'), 'found BFloat16'),
    'integers': (entry('late', [2], bytes(8), 'Int32'), 'found Int32'),
    'content too short': (
        entry('late', [2, 3], floats(5)),
        "expected 24 bytes for 'late' of (2, 3), found 20",
    ),
    'content too long': (entry('late', [4], floats(4) + b'\0'), 'expected 16 bytes'),
    'empty scalar': (entry('late', [0], b''), "expected 4 bytes for 'late' of ()"),
    'negative size': (entry('late', [-2, -2], floats(4)), "for 'late' of (-2, -2)"),
    'no elements': (entry('late', [0, 3], b''), "for 'late' of (0, 3)"),
    'name twice': (entry('conv.weight', [1], floats(1)), "'conv.weight' comes a second time"),
}


@pytest.mark.parametrize('case', BROKEN)
def test_a_broken_entry_is_named_with_its_place(write, case):
    content, problem = BROKEN[case]
    path = write(GOOD + content)
    with pytest.raises(InputError) as caught:
        read_mindspore(path)
    message = str(caught.value)
    assert problem in message
    place = f"at byte {AT}, in entry 3 (after 'bn.gamma'), "
    assert message.startswith(f'{path} cannot be read as a MindSpore checkpoint: {place}')
    assert '\n' not in message and message.count('; ') == 1  # ends with what to do


def test_whatever_is_cut_off_is_noticed(write):
    boundary = len(entry('conv.weight', [2, 1, 3, 3], floats(18)))
    for length in set(range(1, len(GOOD))) - {boundary}:
        start = boundary if length > boundary else 0
        with pytest.raises(InputError, match=f'at byte {start}, in entry {1 + (start > 0)} '):
            read_mindspore(write(GOOD[:length]))
    # a cut between two entries leaves a sound file; only the converter can miss a parameter
    assert list(read_mindspore(write(GOOD[:boundary]))) == ['conv.weight']


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        (b'', 'holds no weights'),
        (entry('global_step', [1], bytes(4), 'Int32'), 'holds no weights'),
        (checksum(b''), 'holds no weights'),
        (b'PK\3\4 a file of torch.save', r'at byte 0, in entry 1 \(the first one\)'),
    ],
)
def test_a_file_of_another_kind_asks_for_a_checkpoint(write, content, problem):
    path = write(content)
    with pytest.raises(InputError, match=problem) as caught:
        read_mindspore(path)
    assert str(path) in str(caught.value) and '; ' in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / 'absent.ckpt', tmp_path):
        with pytest.raises(InputError, match='cannot be opened .*; give a .ckpt file'):
            read_mindspore(path)
        assert not looks_like_mindspore(path)


# --- the kind of a file


def test_the_content_tells_the_kind(write, tmp_path):
    long = entry('backbone.' * 20 + 'weight', [600], floats(600))
    for content in (GOOD, GOOD[:60], long, entry('größe', [1], floats(1))):
        assert looks_like_mindspore(write(content, 'weights.pth'))
    torch.save({'state_dict': {'weight': torch.zeros(3)}}, tmp_path / 'torch.ckpt')
    assert not looks_like_mindspore(tmp_path / 'torch.ckpt')
    torch.save({'a': 1}, tmp_path / 'old.ckpt', _use_new_zipfile_serialization=False)
    assert not looks_like_mindspore(tmp_path / 'old.ckpt')
    header = b'{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    for other in (
        b'',
        b'\n',
        b'\n\n\n\n\n\n\n\n\n\n\n\n\n\n',
        b'\n\x05\n\x00abc',  # an empty name
        b'\n\x05\n\x03a\x01c',
        b'\n\x05\n\x03a\xffc',
        b'\nA text that begins with an empty line\n' * 9,
        struct.pack('<Q', len(header)) + header + bytes(4),
    ):
        assert not looks_like_mindspore(write(other))


# --- memory


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='other units and other counting')
def test_the_file_is_not_in_memory_beside_the_tensors(write):
    megabyte = floats(1 << 18)
    path = write(b''.join(entry(f'layer{i}.weight', [1 << 18], megabyte) for i in range(60)))
    code = """if True:
        import resource, sys, types
        for name, folder in (('mspn_plugin', ''), ('mspn_plugin.checkpoints', '/checkpoints')):
            sys.modules[name] = types.ModuleType(name)  # without MMPose, which takes long
            sys.modules[name].__path__ = [sys.argv[1] + folder]
        from mspn_plugin.checkpoints.mindspore import read_mindspore
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        before = peak()
        weights = read_mindspore(sys.argv[2])
        print(sum(value.nbytes for value in weights.values()) >> 20, peak() - before)
    """
    package = Path(mspn_plugin.__file__).parent
    run = subprocess.run(
        [sys.executable, '-c', code, package, path], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    size, growth = map(int, run.stdout.split()[-2:])
    assert size == 60 and growth < 80, f'{growth} MB more for {size} MB of weights'


# --- from the file to the model


def test_a_whole_checkpoint_loads_by_its_path_and_by_its_address(
    write, original, images, monkeypatch, tmp_path
):
    network = original(images, 2, blocks=(1, 1, 1, 1), same_pool=True)
    names = dict(
        weight='gamma', bias='beta', running_mean='moving_mean', running_var='moving_variance'
    )
    content = b''
    for name, value in network.state_dict().items():
        owner, last = name.rsplit('.', 1)
        if last != 'num_batches_tracked':
            name = f'{owner}.{names[last]}' if owner.endswith('bn') else name
            content += entry(name, value.shape, value.numpy().astype('<f4').tobytes())
    path = write(content)
    cfg = Config.fromfile(get_config('mspn50-2stg_1xb62-5e_coco2014-256x192_finetune'))
    cfg.model.backbone.num_blocks = (1, 1, 1, 1)

    def assert_equal(model):
        with torch.no_grad():
            found = model.head(model.neck(model.backbone(images)))[-1][-1]
            wanted = network(images)[-1][-1]
        assert (found - wanted).abs().max() <= 1e-3 * (wanted.max() - wanted.min())

    model = init_model(cfg, str(path), device='cpu')
    assert_equal(model)
    # The same from the folder of downloads, where MMEngine's loader looks before it downloads.
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    (tmp_path / 'home' / 'hub' / 'checkpoints').mkdir(parents=True)
    path.rename(tmp_path / 'home' / 'hub' / 'checkpoints' / path.name)
    assert_equal(init_model(cfg, f'https://example.invalid/mspn/{path.name}', device='cpu'))
