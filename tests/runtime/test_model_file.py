"""ONNX files that are something else, damaged, too new or malicious."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mspn.errors import InputError, MissingPackage
from mspn.runtime.model_file import METADATA, ModelFile


def identity(path, *, facts=None, opset=18, extra=()):
    """A network that gives back what it gets."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in 'ab']
    node = helper.make_node('Identity', ['a'], ['b'])
    graph = helper.make_graph([*extra, node], 'g', value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)])
    model.ir_version = 10
    if facts is not None:
        helper.set_model_props(model, {METADATA: facts})
    onnx.save(model, str(path))
    return path


def refuses(path, words, kind='pose'):
    with pytest.raises(InputError, match=words) as caught:
        ModelFile(path, kind)
    assert '\n' not in str(caught.value)


def test_what_is_no_model_of_this_package(tmp_path, light_models):
    path = tmp_path / 'model.onnx'
    refuses(path, 'does not exist; expected an ONNX file')
    refuses(tmp_path, 'is a folder')
    path.write_bytes(b'')
    refuses(path, 'cannot be opened as an ONNX model')
    path.write_text('<html>not found</html>')
    refuses(path, 'cannot be opened as an ONNX model')
    whole = light_models[0].read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        refuses(path, 'cannot be opened as an ONNX model|is an ONNX model, but not one')
    refuses(identity(path), 'is an ONNX model, but not one of this package')
    refuses(identity(path, facts='{'), 'has damaged metadata')
    refuses(identity(path, facts='[]'), 'has damaged metadata')
    refuses(identity(path, facts=json.dumps(dict(format=99, kind='pose'))), 'is of format 99')
    refuses(identity(path, facts=json.dumps(dict(format=1, kind='cat'))), 'holds a cat model')
    refuses(identity(path, opset=99), 'newer than this ONNX Runtime')
    refuses(
        identity(path, facts=json.dumps(dict(format=1, kind='pose'))),
        r'metadata \(input_size',
    )
    facts = dict(format=1, kind='detector', input_size=[64, 64])
    refuses(identity(path, facts=json.dumps(facts)), "the inputs \\['a'\\]", 'detector')
    facts = dict(format=1, kind='pose', input='image')
    refuses(identity(path, facts=json.dumps(facts)), 'takes whole pictures, for programs of other')
    model = onnx.load(str(light_models[0]))
    (entry,) = (p for p in model.metadata_props if p.key == METADATA)
    facts = json.loads(entry.value)
    count = len(facts['keypoints'])
    for place, key, value in (
        (facts, 'input_size', ['x', 'y']),
        (facts, 'box_padding', []),
        (facts, 'keypoints', facts['keypoints'][:5]),
        (facts, 'keypoints', list(range(count))),
        (facts['meta'], 'sigmas', [0.1, 0.1]),
        (facts['meta'], 'skeleton_links', [[0, 99]]),
        (facts['meta'], 'skeleton_links', [0, 1]),
        (facts['meta'], 'keypoint_colors', [[1, 2, 3]]),
    ):
        before, place[key] = place[key], value
        entry.value = json.dumps(facts)
        onnx.save(model, str(path))
        refuses(path, 'has damaged metadata')
        place[key] = before
    good = ModelFile(light_models[0], 'pose')
    with pytest.raises(InputError, match='cannot be run: '):
        good(crops=np.zeros((1, 5, 5, 3), np.uint8))


def test_operators_of_strangers_are_not_run_and_no_file_elsewhere_is_read(tmp_path):
    node = helper.make_node('Format', ['a'], ['c'], domain='evil.ops')
    path = identity(tmp_path / 'ops.onnx', extra=[node], facts='{}')
    refuses(path, 'cannot be opened as an ONNX model')
    secret = tmp_path / 'secret.bin'
    secret.write_bytes(b'\0' * 4)
    inside = tmp_path / 'inside'
    inside.mkdir()
    tensor = TensorProto(name='c', data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='../secret.bin')
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in 'ab']
    graph = helper.make_graph(
        [helper.make_node('Add', ['a', 'c'], ['b'])], 'g', value[:1], value[1:]
    )
    graph.initializer.append(tensor)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)])
    model.ir_version = 10
    helper.set_model_props(model, {METADATA: json.dumps(dict(format=1, kind='pose'))})
    (inside / 'outside.onnx').write_bytes(model.SerializeToString())
    refuses(inside / 'outside.onnx', 'cannot be opened as an ONNX model')


def test_without_onnx_runtime_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__('sys').modules, 'onnxruntime', None)
    with pytest.raises(MissingPackage, match=r'pip install "mspn_plugin\[runtime\]"'):
        ModelFile(tmp_path / 'x.onnx', 'pose')
