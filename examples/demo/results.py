"""What the demo shows of its training: pictures of poses, a plot of the curve, and one more AP."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mspn.drawing import draw_people
from mspn_plugin import get_config

from mmpose.apis import inference_topdown, init_model  # isort: skip  # after the plugin

matplotlib.use('Agg')  # files only, no display needed

HEIGHT = 480  # of a picture, in pixels: small images are enlarged, so that limbs stay apart
SEEN = 0.6  # score of a keypoint worth drawing; an empty heatmap scores 0.5


def most_crowded(annotations: Path, count: int) -> list[tuple[str, np.ndarray]]:
    """The images with the most labelled people.

    Args:
        annotations: A COCO keypoint file.
        count: How many images to name.

    Returns:
        File name and boxes ``(N, 4)`` (x1, y1, x2, y2 in pixels) of each.
    """
    content = json.loads(annotations.read_text(encoding='utf-8'))
    boxes: dict[int, list[list[float]]] = {}
    for person in content['annotations']:
        if any(person['keypoints'][2::3]) and not person.get('iscrowd'):
            x, y, w, h = person['bbox']
            boxes.setdefault(person['image_id'], []).append([x, y, x + w, y + h])
    names = {image['id']: image['file_name'] for image in content['images']}
    crowded = sorted(boxes, key=lambda image: (-len(boxes[image]), image))[:count]
    return [(names[image], np.array(boxes[image], np.float32)) for image in crowded]


def draw_poses(config: str, checkpoint: Path, images: Path, annotations: Path, out: Path) -> Path:
    """Predicts and draws the poses in the six most crowded images, each and all in an overview.

    Args:
        config: Name of the model's config.
        checkpoint: Its weights.
        images: The folder of the images.
        annotations: A COCO keypoint file with their people's boxes.
        out: The folder to write to.

    Returns:
        The overview.
    """
    model = init_model(get_config(config), str(checkpoint), device='cpu')
    out.mkdir(parents=True, exist_ok=True)
    tiles = []
    for name, boxes in most_crowded(annotations, 6):
        image = cv2.imread(str(images / name))
        scale = HEIGHT / image.shape[0]
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        poses = inference_topdown(model, image, boxes * scale)
        tiles.append(draw_people(image, poses, model.dataset_meta, keypoint_thr=SEEN))
        cv2.imwrite(str(out / f'{Path(name).stem}_poses.jpg'), tiles[-1])
    rows = [np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)]
    width = max(row.shape[1] for row in rows)
    sheet = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    cv2.imwrite(str(out / 'overview.jpg'), np.vstack(sheet))
    return out / 'overview.jpg'


def plot_training(work_dir: Path, picture: Path) -> None:
    """Draws loss and accuracy over the iterations, and AP over the epochs.

    Where a resumed run repeats a step, the later one counts.

    Args:
        work_dir: The work folder of a training.
        picture: The PNG file to write.
    """
    series: dict[str, dict[int, float]] = {'loss': {}, 'acc_pose': {}, 'coco/AP': {}}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # of a run killed while it wrote
                record = json.loads(line)
                for key in series.keys() & record.keys():
                    series[key][record['step']] = record[key]
    figure, axes = plt.subplots(1, 3, figsize=(12.6, 3.2))
    titles = ('loss, all units together', 'accuracy on training crops', 'AP on validation people')
    for axis, title, (key, values) in zip(axes, titles, series.items(), strict=True):
        axis.plot(list(values), list(values.values()), marker='.', markersize=4)
        axis.set(title=title, xlabel='epoch' if key == 'coco/AP' else 'iteration')
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def pose_ap(annotations: Path, results: Path) -> float:
    """AP over OKS 0.50:0.95 of a file in COCO's keypoint results format, by pycocotools."""
    if not json.loads(results.read_text(encoding='utf-8')):
        return 0.0  # pycocotools cannot read an empty list
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), 'keypoints')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
