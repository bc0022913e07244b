"""MMEngine's checkpoints load with weights only, and files that want more do not."""

import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from evil import Reduced
from mmengine.logging import HistoryBuffer, MessageHub

from mspn_plugin.compat import torch_load

GAPS = torch_load.install()
pytestmark = pytest.mark.skipif(not GAPS[0].active, reason=GAPS[0].detail)

# What the docstring of the module promises; anything more is a decision, not an accident.
NAMES = {
    *('mmengine.logging.history_buffer.HistoryBuffer', 'builtins.getattr'),
    *('numpy.ndarray', 'numpy.dtype'),
    *(f'numpy.{c}.multiarray.{f}' for c in ('_core', 'core') for f in ('_reconstruct', 'scalar')),
}


@pytest.mark.parametrize('code', list('?bhilqBHILQefdgFDG'))
def test_arrays_and_scalars_of_every_number_type(code, tmp_path):
    array = np.arange(6).astype(code).reshape(2, 3)
    torch.save({'a': array, 'f': np.asfortranarray(array), 's': array[1, 2]}, tmp_path / 'a.pth')
    loaded = torch.load(tmp_path / 'a.pth', weights_only=True)
    for key, value in (('a', array), ('f', array), ('s', array[1, 2])):
        assert isinstance(loaded[key], np.ndarray if value.ndim else np.number | np.bool_)
        np.testing.assert_array_equal(loaded[key], value, strict=True)


def save_pickle(path, pickled):
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in parts.items():
            archive.writestr(name, pickled if name.endswith('data.pkl') else content)


def test_what_mmengine_writes_loads_with_equal_content_and_what_it_wrote_under_numpy_1(tmp_path):
    hub = MessageHub('compat')
    hub.update_info('best', np.float32(0.25))
    for loss in (3.0, 2.0, 1.0):
        hub.update_scalar('train/loss', loss, count=2)
    pickled, original = pickle.dumps(hub.state_dict(), protocol=2), hub.get_scalar('train/loss')
    assert b'numpy._core.multiarray\n_reconstruct' in pickled
    for module in (b'numpy._core.multiarray', b'numpy.core.multiarray'):
        save_pickle(tmp_path / 'a.pth', pickled.replace(b'numpy._core.multiarray', module))
        loaded = torch.load(tmp_path / 'a.pth', weights_only=True)
        assert loaded['runtime_info']['best'] == np.float32(0.25)
        buffer = loaded['log_scalars']['train/loss']
        assert type(buffer) is HistoryBuffer
        np.testing.assert_array_equal(buffer.data, original.data, strict=True)
        assert buffer.statistics('mean') == original.mean() and buffer.statistics('current') == 1


def name_of(module, name):
    return f'c{module}\n{name}\n'.encode()


def text(value):
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def call(function, *args):
    return function + b'(' + b''.join(args) + b'tR'


NDARRAY, DTYPE = name_of('numpy', 'ndarray'), name_of('numpy', 'dtype')
SCALAR = name_of('numpy._core.multiarray', 'scalar')
RECONSTRUCT = name_of('numpy._core.multiarray', '_reconstruct')
ADDRESS = call(name_of('_codecs', 'encode'), text('A' * 8), text('latin1'))  # 8 bytes
ONE, EMPTY = b'K\x01\x85', b'K\x00\x85'  # shapes


def malicious(canary):
    """By kind: pickles that reach too far; tests/security has those that run commands."""
    calls = {
        'object array': np.array([Reduced(os.system, f'touch {canary}')], dtype=object),
        'numpy.load': Reduced(np.load, str(canary)),
        'getattr, another class': Reduced(getattr, torch.Tensor, 'min'),
        'getattr, three arguments': Reduced(getattr, HistoryBuffer, 'min', None),
        'getattr, another name': Reduced(getattr, HistoryBuffer, '__init__'),
        'getattr, a way up': Reduced(getattr, HistoryBuffer, '__subclasses__'),
        'getattr, a registrar': Reduced(getattr, HistoryBuffer, 'register_statistics'),
        'empty object array': np.array([None], dtype=object),
        'structured array': np.zeros(2, dtype=[('a', 'i4'), ('b', 'f8')]),
        'record array': np.zeros(2, dtype=[('a', 'i4')]).view(np.recarray),
        'array of text': np.array(['a']),
    }
    buffer = name_of('mmengine.logging.history_buffer', 'HistoryBuffer')
    by_hand = {
        'array over an address': call(NDARRAY, ONE, text('O'), ADDRESS),
        'array over an address, NEWOBJ': NDARRAY + b'(' + ONE + text('O') + ADDRESS + b't\x81',
        'array of another class': call(RECONSTRUCT, buffer, EMPTY, text('b')),
        'type of objects': call(DTYPE, text('O')),
        'class of the type of objects': call(name_of('numpy.dtypes', 'ObjectDType')),
        'class of a type': call(name_of('numpy.dtypes', 'Float64DType')),
        'scalar over an address': call(SCALAR, call(DTYPE, text('O8')), ADDRESS),
        'scalar of too few bytes': call(SCALAR, call(DTYPE, text('c16')), ADDRESS),
        'scalar without a type': call(SCALAR, text('f8'), ADDRESS),
    }
    return {kind: pickle.dumps(value, protocol=2) for kind, value in calls.items()} | {
        kind: b'\x80\x02' + opcodes + b'.' for kind, opcodes in by_hand.items()
    }


@pytest.mark.parametrize('kind', malicious('unused'))
def test_a_file_that_wants_more_is_refused(kind, tmp_path):
    save_pickle(tmp_path / 'evil.pth', malicious(tmp_path / 'canary')[kind])
    with pytest.raises((pickle.UnpicklingError, TypeError)):
        torch.load(tmp_path / 'evil.pth', weights_only=True)
    assert not (tmp_path / 'canary').exists()


STATES = [
    (3, '<', None, None, None, -1, -1, 63),  # flags: "holds objects"
    (3, '<', (np.dtype('f8'), (1000,)), None, None, -1, -1, 0),  # 1000 numbers where there is 1
    (3, '<', None, ('a',), {'a': (np.dtype('i4'), 10**6)}, -1, -1, 0),  # a field far outside
]


@pytest.mark.parametrize('state', STATES, ids=['flags', 'subarray', 'field'])
def test_a_crafted_state_of_a_type_has_no_effect(state, tmp_path):
    def described(dtype):
        return str(dtype), dtype.flags, dtype.fields, dtype.shape, dtype.itemsize

    attacked = np.dtype('f8', False, True)
    attacked.__setstate__(state)
    assert described(attacked) != described(np.dtype('f8'))  # numpy itself takes it
    dtype = call(DTYPE, text('f8'), b'\x89', b'\x88') + pickle.dumps(state, protocol=2)[2:-1] + b'b'
    array = call(RECONSTRUCT, NDARRAY, EMPTY, text('b'))
    array += b'(K\x01' + ONE + dtype + b'\x89' + ADDRESS + b'tb'
    save_pickle(tmp_path / 'evil.pth', b'\x80\x02' + array + b'.')
    loaded = torch.load(tmp_path / 'evil.pth', weights_only=True)
    assert described(loaded.dtype) == described(np.dtype('f8'))
    assert loaded.tobytes() == b'A' * 8
    for code in ('b1', 'i1', 'i8', 'u2', 'f2', 'f4', 'c16'):
        torch_load._plain_dtype(code).__setstate__(state)
        assert described(np.dtype(code)) == described(np.zeros(1, code).dtype)
        assert np.dtype(code).fields is None and np.dtype(code).shape == ()


def test_the_allow_list_holds_exactly_the_documented_names_and_an_old_torch_needs_none(monkeypatch):
    before = torch.serialization.get_safe_globals()
    try:
        torch.serialization.clear_safe_globals()
        assert torch_load.install() == torch_load.install() == GAPS
        names = sorted(name for _, name in torch.serialization.get_safe_globals())
    finally:
        torch.serialization.add_safe_globals(before)
    assert len(names) == len(set(names))
    # A file can only write names with a dot in them.
    assert {name for name in names if '.' in name} == NAMES
    dtypes = {type(np.dtype(code)).__name__ for code in '?bhilqBHILQefdgFDG'}
    assert {name for name in names if '.' not in name} == {'ndarray'} | dtypes
    for name in NAMES:
        assert name.rsplit('.', 1)[-1] in torch_load.__doc__
    monkeypatch.setattr(torch_load.torch, '__version__', '2.5.1+cpu')
    monkeypatch.setattr(torch.serialization, 'add_safe_globals', None)
    assert not torch_load.install()[0].active
