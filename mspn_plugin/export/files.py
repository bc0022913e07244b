"""Writes models as ONNX files, runs them, and compares them with torch before they count."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from mspn.atomic_io import whole_file
from mspn.errors import InputError, MissingPackage
from mspn.poses import names_of
from mspn.runtime.model_file import FORMAT, METADATA
from mspn.version import __version__

from ..checkpoints.files import narrowed, save_weights
from ..models.estimator import MSPNPoseEstimator
from .graphs import DetectorGraph, ImageGraph, PoseGraph

OPSET = 18
_MOST = 4096  # crops in a batch
_MOST_IMAGES = 64  # in a batch of the detector
_NEAR = dict(keypoints=0.02, scores=1e-4)  # how far ONNX may be from torch: pixels, and scores
_NEAR_HALF = dict(keypoints=0.25, scores=0.05)  # the same for weights of half the bits
_SHARE = 0.99  # of the keypoints have to be as near; rounding decides between equal peaks
_META = 'skeleton_links skeleton_link_colors keypoint_colors sigmas flip_indices dataset_name'


def to_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    input: str = 'crops',
    flip_test: bool | None = None,
    half: bool = False,
    weights: str | Path | None = None,
    licence: str = '',
    training_data: str = '',
) -> dict[str, float]:
    """Writes a pose model as one ONNX file, or as a ``.pt2`` of ``torch.export``.

    Args:
        model: A model of ``init_model`` for a config of this package, with anybody's weights.
        path: The file, ``.onnx`` or ``.pt2``. It appears when it has been compared with torch.
        input: ``'crops'``: it takes crops ``(B, h, w, 3)`` uint8 BGR. ``'image'``: a picture
            ``(H, W, 3)`` and boxes ``(N, 4)``, and cuts the crops out itself.
        flip_test: Whether to average with the mirrored crop; by default as the config says.
        half: Stores weights with half the bits. They are widened when the file is opened, so it
            runs as fast everywhere.
        weights: A ``.safetensors`` file for the weights, in the same folder. The ONNX file then
            refers to it instead of holding them, and training can start from it: both in the
            space of one. The two belong together.
        licence: Of the weights, for the file's metadata.
        training_data: What the weights have learned from, likewise.

    Returns:
        How far the file is from torch: ``keypoints`` in pixels and ``scores``, the largest
        differences, and ``near``, the share of keypoints within 0.02 pixels (0.25 if ``half``).

    Raises:
        InputError: The model cannot be exported, or gives something else once it is.
        MissingPackage: The exporter is not installed.
    """
    path = Path(path)
    if not isinstance(model, MSPNPoseEstimator):
        raise InputError(
            f'a {type(model).__name__} cannot be exported; expected a model of a config of this '
            "package (MMPose's, Megvii's and MindSpore's weights load into those)"
        )
    if input not in ('crops', 'image'):
        raise InputError(f"input is {input!r}, expected 'crops' or 'image'")
    model.eval()
    flip_test = model.test_cfg.get('flip_test', False) if flip_test is None else flip_test
    poses = PoseGraph(model, flip_test=flip_test)
    graph: nn.Module = poses.eval()
    facts = pose_facts(model) | dict(
        flip_test=flip_test, licence=licence, training_data=training_data, input=input
    )
    width, height = facts['input_size']
    crops = _noise(3, height, width)
    batch = torch.export.Dim('batch', min=1, max=_MOST)
    if input == 'crops':
        arguments: tuple[torch.Tensor, ...] = (torch.from_numpy(crops),)
        names, dynamic = ['crops'], {'crops': {0: batch}}
    else:
        graph = ImageGraph(poses, tuple(facts['box_padding'])).eval()
        picture = np.concatenate(list(crops), axis=1)
        boxes = [[i * width, 0, (i + 1) * width, height] for i in range(len(crops))]
        arguments = (torch.from_numpy(picture), torch.tensor(boxes, dtype=torch.float32))
        sizes = {axis: torch.export.Dim(f'size{axis}', min=2, max=1 << 16) for axis in (0, 1)}
        names, dynamic = ['image', 'boxes'], {'image': sizes, 'boxes': {0: batch}}
    outputs = ['keypoints', 'scores']
    with _together(path, weights) as (partial, beside):
        store = _Store(model.state_dict(), half=half, weights=beside)
        _write(graph, arguments, partial, path.suffix, names, outputs, dynamic, facts, store)
        wanted = _run_torch(graph, arguments)
        found = _run_file(partial, path.suffix, dict(zip(names, arguments, strict=True)))
        return _compare(wanted, found, path, half=half)


def detector_to_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    category: int = 0,
    half: bool = False,
    weights: str | Path | None = None,
    licence: str = '',
    training_data: str = '',
) -> dict[str, float]:
    """Writes a detector of MMDet's RTMDet family as an ONNX file that finds people.

    It takes images ``(B, h, w, 3)`` uint8 BGR, resized into the size of the config's test pipeline
    with grey around them, and gives boxes after non-maximum suppression.

    Args:
        model: As ``mmdet.apis.init_detector`` makes it.
        path: The file.
        category: Index of the people among the detector's categories.
        half: As in `to_onnx`.
        weights: As in `to_onnx`.
        licence: As in `to_onnx`.
        training_data: As in `to_onnx`.

    Returns:
        ``boxes`` and ``scores``: the largest differences from torch.

    Raises:
        InputError: The model cannot be exported, or gives something else once it is.
        MissingPackage: The exporter is not installed.
    """
    path, head = Path(path), getattr(model, 'bbox_head', None)
    kind = type(head).__name__
    if not kind.startswith('RTMDet') or kind.startswith('RTMDetIns'):
        raise InputError(
            f'a {type(model).__name__} cannot be exported; expected a detector of the RTMDet family'
        )
    width, height = size = _letterbox(model)
    graph = DetectorGraph(model.eval(), category=category, size=size).eval()
    facts = dict(format=FORMAT, kind='detector', version=__version__, input_size=list(size))
    facts |= dict(licence=licence, training_data=training_data)
    images = torch.from_numpy(_noise(2, height, width))
    dynamic = {'images': {0: torch.export.Dim('batch', min=1, max=_MOST_IMAGES)}}
    outputs = ['boxes', 'scores', 'numbers']
    with _together(path, weights) as (partial, beside):
        store = _Store(model.state_dict(), half=half, weights=beside)
        _write(graph, (images,), partial, '.onnx', ['images'], outputs, dynamic, facts, store)
        found = _run_file(partial, '.onnx', dict(images=images))
        return _compare_boxes(model, graph, images, found, path, half=half)


@contextlib.contextmanager
def _together(path: Path, weights: str | Path | None) -> Iterator[tuple[Path, Path | None]]:
    """Where to write a file and that of its weights; both take their places when all is well."""
    with whole_file(path) as partial:
        if not weights:
            yield partial, None
            return
        with tempfile.TemporaryDirectory(prefix=f'.{path.stem}-', dir=path.parent) as folder:
            graph, beside = Path(folder, path.name), Path(folder, Path(weights).name)
            yield graph, beside  # the graph refers to its weights by their name
            with whole_file(weights) as place:
                beside.replace(place)
            graph.replace(partial)


def pose_facts(model: Any) -> dict[str, Any]:
    """What a file says of itself, and the runtime must know."""
    meta, codec = model.dataset_meta, model.head.decoder
    return dict(
        format=FORMAT,
        kind='pose',
        version=__version__,
        keypoints=names_of(meta),
        meta={key: _plain(meta[key]) for key in _META.split() if key in meta},
        input_size=list(codec.input_size),
        box_padding=box_padding(model.cfg.test_dataloader.dataset.pipeline),
        decoder=dict(kernel_size=codec.decode_kernel_size, refine=codec.refine),
    )


def box_padding(pipeline: Sequence[Mapping[str, Any]]) -> list[float]:
    """How much wider and higher than the box a test pipeline cuts a person out."""
    for step in pipeline:
        kind = str(step['type']).rpartition('.')[2]
        if kind == 'GetBBoxCenterScale':
            return [float(step.get('padding', 1.25))] * 2
        if kind == 'BoxMargins':
            return [float(step['width']), float(step['height'])]
    raise InputError(
        'the test pipeline has neither GetBBoxCenterScale nor BoxMargins, so how it cuts people '
        'out of images cannot be written into the file'
    )


def _letterbox(model: Any) -> tuple[int, int]:
    """``(w, h)`` that the test pipeline of a detector pads images to."""
    for step in model.cfg.test_dataloader.dataset.pipeline:
        if str(step['type']).endswith('Pad') and step.get('size'):
            width, height = step['size']
            return int(width), int(height)
    raise InputError("the detector's test pipeline has no Pad with a size; give one that has")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _noise(count: int, height: int, width: int) -> np.ndarray:
    """Images with soft spots, on which a network has something to tell apart."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 8, 6)).astype(np.float32))
    fine = nn.functional.interpolate(coarse, (height, width), mode='bicubic')
    return np.ascontiguousarray(fine.clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())


def _write(
    graph: nn.Module,
    arguments: tuple[torch.Tensor, ...],
    path: Path,
    suffix: str,
    names: list[str],
    outputs: list[str],
    dynamic: dict[str, Any],
    facts: dict[str, Any],
    store: _Store,
) -> None:
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter('ignore')
        if suffix == '.pt2':
            text = {METADATA: json.dumps(facts)}
            program = torch.export.export(graph, arguments, dynamic_shapes=tuple(dynamic.values()))
            torch.export.save(program, path, extra_files=text)
            return
        try:
            exported: Any = torch.onnx.export(
                graph,
                arguments,
                dynamo=True,
                input_names=names,
                output_names=outputs,
                dynamic_shapes=dynamic,
                opset_version=OPSET,
            )
        except ImportError as error:
            raise MissingPackage(
                f'the export needs {error.name}; install it with '
                '`pip install "mspn_plugin[export]"`'
            ) from error
    import onnx

    proto = exported.model_proto
    store.place(proto.graph)
    for part in (*proto.graph.node, *proto.graph.input, *proto.graph.value_info):
        del part.metadata_props[:]  # which lines of Python it comes from: half a megabyte
    onnx.helper.set_model_props(proto, {METADATA: json.dumps(facts)})
    proto.producer_name, proto.producer_version = 'mspn_plugin', __version__
    onnx.save(proto, str(path))


class _Store(NamedTuple):
    """How an ONNX file holds the weights of a model."""

    state: Mapping[str, torch.Tensor]
    half: bool
    weights: Path | None

    def place(self, graph: Any) -> None:
        """Changes a graph, which has them all inside and with 32 bits, accordingly."""
        if self.weights:
            apart = self._beside()
            for tensor in list(graph.initializer):
                for name in (tensor.name, f'bbox_{tensor.name}'):  # as in the graphs, and MMDet's
                    if content := apart.get(name):
                        _replace(graph, tensor, content, _factor(tensor, self.state[name]))
        elif self.half:
            import onnx

            for tensor in list(graph.initializer):
                if tensor.data_type == onnx.TensorProto.FLOAT:
                    values = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
                    if (narrow := narrowed(values)).dtype == torch.float16:
                        _replace(graph, tensor, onnx.numpy_helper.from_array(narrow.numpy()))

    def _beside(self) -> dict[str, Any]:
        """Writes the file of the weights; gives its contents as ONNX refers to them, by name."""
        import onnx

        assert self.weights
        kinds = {'F32': onnx.TensorProto.FLOAT, 'F16': onnx.TensorProto.FLOAT16}
        save_weights(self.state, self.weights, half=self.half)
        content = {}
        with self.weights.open('rb') as file:
            start = 8 + (length := int.from_bytes(file.read(8), 'little'))
            header = json.loads(file.read(length))
        notes = header.pop('__metadata__', {})
        for name, entry in header.items():
            if entry['dtype'] in kinds:
                begin, end = entry['data_offsets']
                tensor = onnx.TensorProto(data_type=kinds[entry['dtype']], dims=entry['shape'])
                tensor.data_location = onnx.TensorProto.EXTERNAL
                for key, value in dict(
                    location=self.weights.name, offset=start + begin, length=end - begin
                ).items():
                    tensor.external_data.add(key=key, value=str(value))
                content[name] = tensor
        shared = {name: content[first] for name, first in notes.items() if first in content}
        return shared | content


def _factor(tensor: Any, own: torch.Tensor) -> np.ndarray | None:
    """What a weight was multiplied with, for each channel, when its normalisation was folded in."""
    import onnx

    value, stored = onnx.numpy_helper.to_array(tensor), own.numpy()
    if np.array_equal(value, stored):
        return None
    factor = (value * stored).sum(axis=(1, 2, 3)) / np.square(stored).sum(axis=(1, 2, 3)).clip(
        1e-30
    )
    factor = factor.reshape(-1, 1, 1, 1).astype(np.float32)
    np.testing.assert_allclose(stored * factor, value, rtol=1e-3, atol=1e-4 * np.abs(value).max())
    return factor


def _replace(graph: Any, tensor: Any, content: Any, factor: np.ndarray | None = None) -> None:
    """Puts other content in a weight's place; what it needs is folded away when a file is opened.

    That is a cast where it has less bits, and a product with the factor.
    """
    import onnx

    name = tensor.name
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if content.data_type != tensor.data_type:
        steps.append(('Cast', [], dict(to=tensor.data_type)))
    if factor is not None:
        graph.initializer.append(onnx.numpy_helper.from_array(factor, f'{name}_factor'))
        steps.append(('Mul', [f'{name}_factor'], {}))
    graph.initializer.remove(tensor)
    content.name = f'{name}_stored' if steps else name
    graph.initializer.append(content)
    before, nodes = content.name, []
    for number, (kind, more, options) in enumerate(steps, 1):
        after = name if number == len(steps) else f'{name}_{number}'
        nodes.append(onnx.helper.make_node(kind, [before, *more], [after], **options))
        before = after
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _run_torch(graph: nn.Module, arguments: tuple[torch.Tensor, ...]) -> list[np.ndarray]:
    with torch.no_grad():
        return [output.numpy() for output in graph(*arguments)]


def _run_file(path: Path, suffix: str, inputs: dict[str, torch.Tensor]) -> list[np.ndarray]:
    if suffix == '.pt2':
        program: Any = torch.export.load(path).module()
        return [output.detach().numpy() for output in program(*inputs.values())]
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingPackage(
            'the file is compared with torch by ONNX Runtime; install it with '
            '`pip install "mspn_plugin[export]"`'
        ) from error
    session = ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    found: list[np.ndarray] = session.run(None, {n: v.numpy() for n, v in inputs.items()})
    return found


def _compare(
    wanted: list[np.ndarray], found: list[np.ndarray], path: Path, *, half: bool
) -> dict[str, float]:
    apart = np.abs(wanted[0] - found[0]).max(axis=-1)
    limits, share = (_NEAR_HALF, 0.8) if half else (_NEAR, _SHARE)
    difference = dict(
        keypoints=float(apart.max(initial=0)),
        scores=float(np.abs(wanted[1] - found[1]).max(initial=0)),
        near=float((apart <= limits['keypoints']).mean()) if apart.size else 1.0,
    )
    if not (difference['scores'] <= limits['scores'] and difference['near'] >= share):
        raise InputError(
            f'{path} was not written: exported, the model differs from torch by '
            f'{difference["scores"]:.2g} in scores, and {difference["near"]:.1%} of the keypoints '
            f'are within {limits["keypoints"]} pixels; a normalisation may have no statistics, '
            'as in a network that was never trained'
        )
    return difference


def _compare_boxes(
    model: Any, graph: DetectorGraph, images: torch.Tensor, found: Any, path: Path, *, half: bool
) -> dict[str, float]:
    """The file with the graph in torch, and the graph with MMDet's own prediction of all places."""
    from mmdet.structures import DetDataSample

    height, width = images.shape[1:3]
    facts = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0))
    samples = [DetDataSample(metainfo=facts) for _ in images]
    data = dict(inputs=list(images.permute(0, 3, 1, 2)), data_samples=samples)
    wanted = _run_torch(graph, (images,))
    settings, kept, threshold = model.test_cfg, model.test_cfg.get('score_thr'), graph.score_thr
    settings.score_thr = graph.score_thr = 0.0  # noise alone has no people
    try:
        everything = _run_torch(graph, (images,))
        with torch.no_grad():
            theirs = model.test_step(data)
    finally:
        settings.score_thr, graph.score_thr = kept, threshold
    apart = [_apart(wanted, found, number) for number in range(len(images))]
    for number, sample in enumerate(theirs):
        people = sample.pred_instances
        chosen = people.labels == graph.category
        own = (people.bboxes[chosen].numpy(), people.scores[chosen].numpy())
        apart.append(_apart((*own, np.full(len(own[1]), number)), everything, number, most=20))
    worst = dict(boxes=max(b for b, _ in apart), scores=max(score for _, score in apart))
    if not (worst['scores'] <= (0.05 if half else 1e-3) and worst['boxes'] <= (5 if half else 0.1)):
        raise InputError(
            f'{path} was not written: exported, the detector differs from torch by '
            f'{worst["scores"]:.2g} in scores and {worst["boxes"]:.2g} pixels'
        )
    return worst


def _apart(
    wanted: Sequence[np.ndarray], found: Sequence[np.ndarray], number: int, most: int = 300
) -> tuple[float, float]:
    """How far an image's likeliest boxes are from others, in the median, and scores at most."""
    pairs = []
    for boxes, scores, numbers in (wanted, found):
        mine = np.flatnonzero(numbers == number)
        pairs.append((boxes[mine], scores[mine]))
    lengths = [len(scores) for _, scores in pairs]
    count = min(most, *lengths)
    # Rounding may put one or two on the other side of a threshold.
    if count < most and abs(lengths[0] - lengths[1]) > 2:
        return math.inf, math.inf
    if not count:
        return 0.0, 0.0
    (boxes, scores), (others, marks) = pairs
    orders = [np.argsort(-values, kind='stable')[:count] for values in (scores, marks)]
    # The nearest: of an untrained detector many have the same score, and no order.
    apart = np.abs(boxes[orders[0], None] - others).max(axis=2).min(axis=1)
    return float(np.median(apart)), float(np.abs(scores[orders[0]] - marks[orders[1]]).max())
