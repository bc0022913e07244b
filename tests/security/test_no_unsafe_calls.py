"""No line of the package or the tools loads what can run, or hands text to a shell."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ('mspn', 'mspn_plugin', 'tools', 'install')

# Prefixes of full names, called or passed on; one that ends in a dot covers a whole module.
FORBIDDEN = """
pickle.load pickle.loads pickle.Unpickler pickle._ _pickle. cPickle. dill. joblib. cloudpickle.
jsonpickle. shelve. marshal. pandas.read_pickle yaml.load yaml.load_all yaml.unsafe_load
yaml.unsafe_load_all yaml.full_load yaml.full_load_all yaml.Loader yaml.UnsafeLoader yaml.FullLoader
eval exec compile __import__ builtins.eval builtins.exec os.system os.popen pty. runpy.
subprocess.getoutput subprocess.getstatusoutput asyncio.create_subprocess_shell
shutil.unpack_archive torch.hub.load torch.jit.load torch.package. torch.serialization.load
torch.serialization._ torch.utils.model_zoo. torch.utils.cpp_extension.
mmengine.fileio.PickleHandler numpy.lib.format.read_array ctypes.pythonapi
""".split()
# Allowed in a call that says so.
ONLY_WITH = {
    'torch.load': ('weights_only', True),
    'torch.hub.load_state_dict_from_url': ('weights_only', True),
    **{f'mmengine.{of}load': ('file_format', 'json') for of in ('', 'fileio.', 'fileio.io.')},
}
NEVER_WITH = {'shell': False, 'allow_pickle': False, 'weights_only': True}  # any other value
METHODS = {'extractall', 'load_module', 'exec_module'}
ALLOWED_IN = {'mspn_plugin/compat/torch_load.py': {'torch.serialization.add_safe_globals'}}
GUARDED = ('torch', 'pickle', 'numpy', 'builtins')  # nothing in them is to be replaced ...
SETTINGS = 'torch.backends.'  # ... but these
RUNNERS = ('pickle', 'builtins', 'os', 'subprocess')  # nothing is to be taken by a text


def names_of(tree):
    """The full name of everything that a file imports, by the name that it has there."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.split('.')[0]
                names[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f'{node.module}.{alias.name}'
    return names


def full_name(node, names):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ''
    return '.'.join([names.get(node.id, node.id), *reversed(parts)]).removeprefix('builtins.')


def is_forbidden(name, importing=False):
    """Whether a full name is in the list; importing a module that is all in it is enough."""
    return any(
        name == bad or (bad[-1] in '._' and f'{name}.'.startswith(bad))
        for bad in FORBIDDEN
        if '.' in bad or not importing
    ) or name.startswith(('os.exec', 'os.spawn', 'os.posix_spawn'))


def given(node, calls, key):
    """The value of a keyword in the call of an expression, if both are there to be read."""
    values = [k.value for k in calls[node].keywords if k.arg == key] if node in calls else []
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


def reasons(node, names, calls):
    if isinstance(node, ast.Name | ast.Attribute):
        name = full_name(node, names)
        owner = name.split('.')[0]
        if isinstance(node.ctx, ast.Store | ast.Del):
            if '.' in name and owner in GUARDED and not name.startswith(SETTINGS):
                yield f'{name} is replaced'
        elif name in ONLY_WITH:
            key, value = ONLY_WITH[name]
            if given(node, calls, key) != value:
                yield f'{name} without {key}={value!r}'
        elif is_forbidden(name) or (owner == 'torch' and name.endswith('safe_globals')):
            yield name
        elif isinstance(node, ast.Attribute) and node.attr in METHODS:
            yield node.attr
    elif isinstance(node, ast.ImportFrom | ast.Import):
        module = f'{node.module}.' if isinstance(node, ast.ImportFrom) else ''
        for name in (module + alias.name for alias in node.names):
            if is_forbidden(name, importing=True):
                yield f'import of {name}'
    elif isinstance(node, ast.Call):
        for key in {keyword.arg for keyword in node.keywords} & NEVER_WITH.keys():
            if given(node.func, calls, key) is not NEVER_WITH[key]:
                yield f'{key} other than {NEVER_WITH[key]}'
        name = full_name(node.func, names)
        if name in ('getattr', 'setattr', 'delattr') and node.args:
            owner = full_name(node.args[0], names).split('.')[0]
            if owner in RUNNERS or (owner in GUARDED and name != 'getattr'):
                yield f'{name} on {owner}'
    elif isinstance(node, ast.Constant) and node.value == 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD':
        yield node.value


def unsafe(source: str, path: str = 'file.py') -> list[str]:
    tree = ast.parse(source)
    names, allowed = names_of(tree), ALLOWED_IN.get(path, set())
    calls = {node.func: node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = [(node, why) for node in ast.walk(tree) for why in reasons(node, names, calls)]
    return [f'{path}:{node.lineno} {why}' for node, why in found if why not in allowed]


def test_nothing_in_the_package_or_the_tools_is_unsafe():
    files = [file for name in FOLDERS for file in (ROOT / name).rglob('*.py')]
    files.append(ROOT / 'setup.py')
    assert len(files) > 80
    for file in files:
        assert not unsafe(file.read_text('utf-8'), file.relative_to(ROOT).as_posix())


BAD = r"""
import torch; torch.load(f) | import torch; torch.load(f, weights_only=False)
import torch; torch.load(f, weights_only=flag) | import torch as t; t.load(f)
from torch import load; load(f) | from torch import load as read; read(f, map_location="cpu")
import torch; loader = torch.load
import torch, functools; functools.partial(torch.load, weights_only=False)
import torch; torch.load = other | import torch; torch.serialization.load = other
import torch; setattr(torch, "load", other)
import torch; torch.serialization.add_safe_globals([x])
import torch; torch.serialization.safe_globals([x]) | import torch; torch.hub.load("a/b", "c")
import torch; torch.hub.load_state_dict_from_url(u)
from torch.utils.model_zoo import load_url; load_url(u) | import torch; torch.jit.load(f)
import pickle; pickle.load(f) | import pickle as p; p.loads(b) | from pickle import loads; loads(b)
import pickle; pickle.Unpickler(f).load() | from pickle import Unpickler as U
import pickle; map(pickle.loads, parts) | import pickle; getattr(pickle, "loads")(b)
import dill; dill.load(f) | from joblib import load; load(f) | import cloudpickle
import marshal; marshal.loads(b) | import shelve; shelve.open(f)
import pandas as pd; pd.read_pickle(f) | import numpy as np; np.load(f, allow_pickle=True)
import numpy as np; np.load(f, allow_pickle=flag) | import yaml; yaml.load(f, Loader=yaml.Loader)
import yaml; yaml.unsafe_load(f) | import mmengine; mmengine.load(f)
from mmengine.fileio import load; load(f)
from mmengine.fileio import load; load(f, file_format="pkl") | eval(text) | exec(text)
import builtins; builtins.exec(text) | compile(text, "f", "exec") | __import__(name)
import os; os.system(c) | from os import system | import os; os.popen(c)
import os; os.execvp(c, []) | import subprocess; subprocess.run(c, shell=True)
import subprocess; subprocess.Popen(c, shell=flag) | import subprocess; subprocess.getoutput(c)
import tarfile; tarfile.open(f).extractall(p) | import shutil; shutil.unpack_archive(f)
import os; os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
"""
GOOD = """
import torch; torch.load(f, map_location="cpu", weights_only=True)
import numpy as np; np.load(f); np.load(f, allow_pickle=False)
import subprocess; subprocess.run(["a"], shell=False)
from mmengine.fileio import load; load(f, file_format="json")
import json; json.load(f); model.eval(); self.load(f)
import ast, yaml, pickle; ast.literal_eval(t); yaml.safe_load(f); pickle.UnpicklingError
import re; re.compile("a")
"""


def test_each_bad_line_would_be_found_and_no_good_one():
    for text, is_bad in ((BAD, True), (GOOD, False)):
        sources = [source for line in text.strip().splitlines() for source in line.split(' | ')]
        assert [source for source in sources if bool(unsafe(source.strip())) != is_bad] == []
