"""Files that would do harm if anything in them ran."""

import builtins
import functools
import importlib
import io
import operator
import os
import pathlib
import pickle
import runpy
import shutil
import subprocess
import tarfile
import zipfile
from collections import OrderedDict

import torch

PLACES = ('state_dict', 'meta', 'message_hub', 'optimizer', 'key', 'top')


class Reduced:
    """Pickles as the call of a function, whose result may be filled with a state."""

    def __init__(self, function, *args, **state):
        self.how = (function, args, state) if state else (function, args)

    def __reduce__(self):
        return self.how


def gadgets(canary):
    """By kind: an object whose pickle makes the file ``canary``, and the name that it goes by."""
    file, command, write = str(canary), f'touch {canary}', f'open({str(canary)!r}, "w").close()'
    system = Reduced(os.system, command)
    call = 'operator.methodcaller'
    return {
        'os.system': (system, 'posix.system'),
        'os.mkdir': (Reduced(os.mkdir, file), 'posix.mkdir'),
        'subprocess': (Reduced(subprocess.Popen, ['touch', file]), 'Popen'),
        'eval': (Reduced(builtins.eval, f'open({file!r}, "w")'), 'eval'),
        'exec': (Reduced(builtins.exec, write), 'exec'),
        'open': (Reduced(open, file, 'w'), 'io.open'),
        'copy': (Reduced(shutil.copyfile, os.devnull, file), 'shutil.copyfile'),
        'pickle in a pickle': (Reduced(pickle.loads, pickle.dumps(system)), 'pickle.loads'),
        'partial': (Reduced(map, functools.partial(os.system), [command]), 'map'),
        'methodcaller': (Reduced(operator.methodcaller('touch'), pathlib.PurePath(canary)), call),
        'import': (Reduced(importlib.import_module, 'antigravity'), 'importlib.import_module'),
        'runpy': (Reduced(runpy.run_path, file), 'runpy.run_path'),
        'inside a state': (Reduced(OrderedDict, hidden=system), 'posix.system'),
        'torch.load': (Reduced(torch.load, file), 'torch.serialization.load'),
        'torch.hub': (Reduced(torch.hub.load, 'a/b', 'c'), 'torch.hub.load'),
    }


def checkpoint(evil, place):
    """A checkpoint as MMEngine writes it, with an object somewhere in it."""
    content = dict(
        meta=dict(epoch=1, iter=2, dataset_meta=dict(classes=('person',))),
        state_dict=OrderedDict({'backbone.stem.conv.weight': torch.zeros(2)}),
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        optimizer=dict(state={0: dict(step=torch.tensor(1.0))}, param_groups=[dict(lr=0.1)]),
        param_schedulers=[],
    )
    if place == 'top':
        return evil
    if place == 'key':
        return dict(content, meta={('a', evil): 1})
    into = {
        'optimizer': (content['optimizer']['state'][0], 'exp_avg', [evil]),
        'message_hub': (content['message_hub']['log_scalars'], 'train/loss', evil),
        'meta': (content['meta']['dataset_meta'], 'sigmas', (evil,)),
        'state_dict': (content['state_dict'], 'head.weight', evil),
    }
    inner, key, value = into[place]
    inner[key] = value
    return content


def write_tar(content, path):
    """The format before torch 0.1.10."""
    with tarfile.open(path, 'w') as archive:
        parts = dict(sys_info=dict(little_endian=True), pickle=content, storages=0, tensors=0)
        for name, part in parts.items():
            data = pickle.dumps(part, protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_torchscript(content, path):
    """An archive with code, whose pickles TorchScript's own reader would take."""
    torch.save(content, path)
    with zipfile.ZipFile(path, 'a') as archive:
        folder = archive.namelist()[0].split('/')[0]
        archive.writestr(f'{folder}/constants.pkl', pickle.dumps(content, protocol=2))


def without_tensors(content):
    """The same with lists; a bare pickle of tensors needs a function that is refused itself."""
    if isinstance(content, dict):
        return {key: without_tensors(value) for key, value in content.items()}
    return content.tolist() if isinstance(content, torch.Tensor) else content


def write_pickle(content, path, protocol):
    path.write_bytes(pickle.dumps(without_tensors(content), protocol))


WRITERS = {
    'zip': torch.save,
    'before zip': functools.partial(torch.save, _use_new_zipfile_serialization=False),
    'zip, protocol 4': functools.partial(torch.save, pickle_protocol=4),
    'tar': write_tar,
    'torchscript': write_torchscript,
    **{f'pickle, protocol {n}': functools.partial(write_pickle, protocol=n) for n in range(6)},
}
