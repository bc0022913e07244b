"""People a second on this machine: the light runtime, torch, stock MMPose, and RTMPose-t beside.

    PYTHONPATH=benchmarks:examples .venv/bin/python -m runtime_speed --data-root ../data/coco

All get the same pictures and boxes and find poses without flip test. The sides take turns; the
figures are medians. RTMPose-t is MMPose's config with random weights, exported in the same way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mspn.batches import Item
from mspn.runtime import PoseModel
from mspn_plugin import get_config
from mspn_plugin.apis import PosePredictor
from mspn_plugin.export import to_int8, to_onnx
from mspn_plugin.export.files import _noise, _Store, _write, pose_facts
from mspn_plugin.export.graphs import Normalise

from mmpose.apis import inference_topdown, init_model  # isort: skip  # after the plugin


class SimccGraph(nn.Module):
    """From crops to keypoints and scores, for a head that gives distributions over x and over y."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.normalise = model, Normalise(model.data_preprocessor)
        self.ratio = float(model.head.decoder.simcc_split_ratio)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Takes the highest place of each distribution."""
        parts = self.model.head(self.model.backbone(self.normalise(crops)))
        (across, score_x), (down, score_y) = ((part.argmax(2), part.amax(2)) for part in parts)
        return torch.stack([across, down], 2) / self.ratio, torch.minimum(score_x, score_y)


def calibrated(config: str) -> Any:
    """A model with random weights whose normalisations have statistics."""
    torch.manual_seed(0)
    model = init_model(config, device='cpu')
    model.init_weights()
    model.train()
    width, height = model.head.decoder.input_size
    with torch.no_grad():
        for _ in range(5):
            model.head(model.extract_feat(torch.randn(8, 3, height, width)))
    model.test_cfg['flip_test'] = False
    return model.eval()


def rtmpose(path: Path) -> None:
    """Writes RTMPose-t as a file that the runtime takes."""
    import mmpose

    folder = Path(mmpose.__path__[0], '.mim', 'configs', 'body_2d_keypoint', 'rtmpose')
    config = folder / 'coco' / 'rtmpose-t_8xb256-420e_coco-256x192.py'
    model = calibrated(str(config))
    model.head.decoder.decode_kernel_size, model.head.decoder.refine = 0, 'none'
    facts = pose_facts(model)
    crops = (torch.from_numpy(_noise(3, 256, 192)),)
    dynamic = {'crops': {0: torch.export.Dim('batch', min=1, max=4096)}}
    names: Any = (['crops'], ['keypoints', 'scores'])
    store = _Store({}, half=False, weights=None)
    _write(SimccGraph(model).eval(), crops, path, '.onnx', *names, dynamic, facts, store)


def pictures_of(root: Path, count: int) -> dict[str, list[list[float]]]:
    """Pictures of a COCO set with the boxes of their people."""
    content = json.loads((root / 'annotations/person_keypoints_val2017.json').read_text())
    names = {image['id']: image['file_name'] for image in content['images']}
    found: dict[str, list[list[float]]] = {}
    for person in content['annotations']:
        x, y, w, h = person['bbox']
        if person['num_keypoints'] and not person.get('iscrowd'):
            path = str(root / 'val2017' / names[person['image_id']])
            found.setdefault(path, []).append([x, y, x + w, y + h])
    return dict(list(found.items())[:count])


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--data-root', type=Path, required=True, help="pictures in COCO's layout")
    parser.add_argument('--config', default='mspn-tiny_1xb16-20e_coco-128x96')
    parser.add_argument('--pictures', type=int, default=40)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pictures = pictures_of(args.data_root, args.pictures)
    items = [Item(path, boxes) for path, boxes in pictures.items()]
    people = sum(map(len, pictures.values()))
    model = calibrated(get_config(args.config))
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f'{name}.onnx' for name in ('fp32', 'int8', 'rtmpose')}
        to_onnx(model, files['fp32'])
        to_int8(model, files['int8'], list(pictures), boxes=pictures.values())
        rtmpose(files['rtmpose'])
        light = {n: PoseModel(file, threads=args.threads) for n, file in files.items()}
    predictor = PosePredictor(model)
    works: dict[str, Callable[[], Any]] = {
        'light runtime, fp32': lambda: list(light['fp32'].stream(items)),
        'light runtime, int8': lambda: list(light['int8'].stream(items)),
        'torch, PosePredictor': lambda: list(predictor.stream(items)),
        'stock inference_topdown': lambda: [
            inference_topdown(model, path, np.array(boxes)) for path, boxes in pictures.items()
        ],
        'RTMPose-t at 256x192, light runtime': lambda: list(light['rtmpose'].stream(items)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(args.repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if repeat:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    first = statistics.median(seconds['light runtime, fp32'])
    print(
        f'{len(items)} pictures, {people} people, {args.threads} threads, {args.repeats} repeats\n'
    )
    print('| | people/s | fp32 light runtime against it | spread |\n|---|---:|---:|---:|')
    for name, times in seconds.items():
        middle = statistics.median(times)
        spread = (max(times) - min(times)) / middle
        print(f'| {name} | {people / middle:.1f} | {middle / first:.2f}x | {spread:.0%} |')


if __name__ == '__main__':
    main()
