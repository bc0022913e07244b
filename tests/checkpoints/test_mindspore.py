"""MindSpore's checkpoints, written here byte by byte after protobuf's encoding rules."""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.apis import init_model
from original_mspn import as_mindspore, random_original

from mspn_plugin import InputError, get_config
from mspn_plugin.checkpoints.mindspore import looks_like_mindspore, read_mindspore

DATA = Path(__file__).resolve().parents[1] / 'data'


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; negative numbers as 64 bits."""
    number %= 2**64
    more = varint(number // 128) if number >= 128 else b''
    return bytes([number % 128 + 128 * bool(more)]) + more


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
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def bits(value: torch.Tensor) -> bytes:
    assert value.dtype == torch.float32 and value.device.type == 'cpu' and value.is_contiguous()
    return value.numpy().astype('<f4').tobytes()


def test_every_bit_comes_back_and_counters_are_left_out(write):
    special = np.array([0x7FC12345, 0x80000000, 1, 0xFF800000], '<u4').tobytes()  # NaN, -0, tiny
    expected = {
        'conv.weight': ((3, 2, 5, 7), floats(210)),
        'bn.moving_mean': ((4,), special),
        'scalar': ((), floats(1)),
        'größe.权重\n': ((1, 1), floats(1)),
        **{f'{count}': ((count,), floats(count)) for count in (31, 32, 4095, 4096, 600_000)},
    }
    inside = field(2, tensor([2, 3], floats(6))) + field(1, b'w')  # in another order, long numbers
    content = b'\x8a\x00' + bytes([len(inside) % 128 + 128, 0x80, 0x00]) + inside
    content += entry('zero', [0], floats(1)) + entry('step', [1], struct.pack('<i', 9), 'Int32')
    content += entry('done', [], b'\1\0\0\0', 'Bool') + entry('note', [], b'a\0\0\0', 'str')
    content += b''.join(entry(name, *value) for name, value in expected.items())
    expected |= {'w': ((2, 3), floats(6)), 'zero': ((), floats(1))}
    path = write(content + checksum(content))
    found = read_mindspore(path)
    path.write_bytes(bytes(len(content)))  # the tensors have their own memory
    assert found.keys() == expected.keys()
    for name, (shape, numbers) in expected.items():
        assert (tuple(found[name].shape), bits(found[name])) == (shape, numbers)
    found['w'].mul_(2)


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
    assert [tuple(found[key].shape) for key in shapes] == list(shapes.values())
    numbers = torch.cat([found[key].flatten() for key in shapes])
    assert torch.equal(numbers, torch.arange(len(numbers)) / 8 - 3)
    assert (found['learning_rate'].item(), found['one'].item()) == (pytest.approx(0.0005), 0.5)


WHOLE = entry('late', [4], floats(4))
ENDS = 'found no end of a number'
NO_TENSOR = 'expected a name and a tensor'
BROKEN = [
    (WHOLE[:-5], f'expected {len(WHOLE) - 2} bytes'),
    (entry('late', [90], floats(90))[:2], ENDS),  # in the length
    (WHOLE[:1], ENDS),
    (b'\x8a', ENDS),  # in the key
    (b'\n' + b'\xff' * 20, ENDS),
    (b'\n' + varint(2**63), f'expected {2**63} bytes'),
    (field(2, b'late'), 'expected an entry in field 1, found field 2'),
    (varint(8) + varint(3), NO_TENSOR),  # a number
    (varint(13) + bytes(4), 'found field 1 of wire type 5'),
    (bytes(64), 'found field 0'),  # as of a disk
    (field(1, b'\xff' * 9), ENDS),
    (field(1, WHOLE[2:-2]), 'bytes, found'),  # the message is cut short
    (field(1, field(2, tensor([1], floats(1)))), NO_TENSOR),  # no name
    (field(1, field(1, b'\xff') + field(2, tensor([], b''))), NO_TENSOR),  # a name of no text
    (field(1, field(1, b'late')), NO_TENSOR),
    (field(1, field(1, b'late') + field(2, field(3, floats(1)))), NO_TENSOR),  # no type
    (field(1, field(1, b'late') + field(2, field(2, b'Float32'))), NO_TENSOR),  # no content
    (entry('late', [4], bytes(8), 'Float16'), "for 'late', found Float16"),
    (entry('late', [], bytes(2), 'BFloat16'), 'found BFloat16'),
    (entry('late', [2], bytes(8), 'Int32'), 'found Int32'),
    (entry('late', [2, 3], floats(5)), "24 bytes for 'late' of (2, 3), found 20"),
    (entry('late', [4], floats(4) + b'\0'), 'expected 16 bytes'),
    (entry('late', [0], b''), "expected 4 bytes for 'late' of ()"),
    (entry('late', [-2, -2], floats(4)), "for 'late' of (-2, -2)"),
    (entry('late', [0, 3], b''), "for 'late' of (0, 3)"),
    (entry('conv.weight', [1], floats(1)), "'conv.weight' comes a second time"),
]


@pytest.mark.parametrize(('content', 'problem'), BROKEN)
def test_a_broken_entry_ends_in_a_sentence(write, content, problem):
    path = write(GOOD + content)
    start = re.escape(f'{path} cannot be read as a MindSpore checkpoint: after 2 entries, ')
    words = rf'^{start}[^;\n]*{re.escape(problem)}[^;\n]*; [^;\n]*\Z'  # ends with what to do
    with pytest.raises(InputError, match=words):
        read_mindspore(path)


def test_damaged_and_other_files(write, tmp_path):
    first = len(entry('conv.weight', [2, 1, 3, 3], floats(18)))
    for length in set(range(len(GOOD))) - {first}:  # only the converter can miss a whole entry
        with pytest.raises(InputError, match=f'after {int(length > first)} entries'):
            read_mindspore(write(GOOD[:length]))
    changed = bytearray(GOOD)
    changed[-1] ^= 1  # in the last number, where protobuf sees nothing
    for content, problem in (
        (bytes(changed) + checksum(GOOD), 'is not the CRC-32 of all before'),
        (entry('global_step', [1], bytes(4), 'Int32'), 'expected tensors of type Float32'),
        (checksum(b''), 'expected tensors of type Float32'),
        (b'PK\3\4 a file of torch.save', 'after 0 entries, '),
    ):
        with pytest.raises(InputError, match=f'mspn.ckpt cannot be read.*{problem}.*; '):
            read_mindspore(write(content))
    for path in (tmp_path / 'absent.ckpt', tmp_path):
        with pytest.raises(InputError, match='cannot be read as a MindSpore checkpoint'):
            read_mindspore(path)
        assert not looks_like_mindspore(path)


def test_the_content_tells_the_kind(write, tmp_path):
    long = entry('backbone.' * 20 + 'weight', [600], floats(600))
    for content in (GOOD, GOOD[:60], long, entry('größe', [1], floats(1))):
        assert looks_like_mindspore(write(content, 'weights.pth'))
    for zipped in (True, False):
        path = tmp_path / 'torch.ckpt'
        torch.save({'weight': torch.zeros(3)}, path, _use_new_zipfile_serialization=zipped)
        assert not looks_like_mindspore(path)
    others = [b'', b'\n', b'\n' * 14, b'\n\x05\n\x00abc', b'\n\x05\n\x03a\x01c']
    for other in (*others, b'\n\x05\n\x03a\xffc', b'\nA text after an empty line\n' * 9):
        assert not looks_like_mindspore(write(other))


def test_a_whole_checkpoint_loads_by_path_and_by_address(write, images, monkeypatch, tmp_path):
    network = random_original(images, 2, blocks=(1, 1, 1, 1), same_pool=True)
    weights = as_mindspore(network.state_dict()).items()
    path = write(b''.join(entry(name, value.shape, bits(value)) for name, value in weights))
    cfg = Config.fromfile(get_config('mspn50-2stg_1xb62-5e_coco2014-256x192_finetune'))
    cfg.model.backbone.num_blocks = (1, 1, 1, 1)
    # The second time from the folder of downloads, where MMEngine's loader looks first.
    cached = tmp_path / 'home' / 'hub' / 'checkpoints' / path.name
    cached.parent.mkdir(parents=True)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    for address in (str(path), f'https://example.invalid/mspn/{path.name}'):
        model = init_model(cfg, address, device='cpu')
        with torch.no_grad():
            found = model.head(model.neck(model.backbone(images)))[-1][-1]
            wanted = network(images)[-1][-1]
        assert (found - wanted).abs().max() <= 1e-3 * (wanted.max() - wanted.min())
        if path.exists():
            path.rename(cached)
