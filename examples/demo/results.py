"""What the demo shows of its training: pictures of poses, and one more AP."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from mspn.drawing import draw_people
from mspn_plugin import get_config
from mspn_plugin.annotations.own_data import coco_sigmas
from mspn_plugin.apis import PosePredictor, pose_of
from mspn_plugin.reports.analysis import evaluate

from mmpose.apis import init_model  # isort: skip  # after the plugin

HEIGHT = 480  # of a picture, in pixels: small images are enlarged, so that limbs stay apart
SEEN = 0.6  # score of a keypoint worth drawing; an empty heatmap scores 0.5


def draw_poses(config: str, checkpoint: Path, images: Path, truth: Path, out: Path) -> None:
    """Draws the six images with the most people in a COCO keypoint file; ``out`` shows them all."""
    content = json.loads(truth.read_text(encoding='utf-8'))
    boxes: dict[int, list[list[float]]] = {image['id']: [] for image in content['images']}
    for person in content['annotations']:
        if any(person['keypoints'][2::3]) and not person.get('iscrowd'):
            x, y, w, h = person['bbox']
            boxes[person['image_id']].append([x, y, x + w, y + h])
    crowded = [image for image in content['images'] if boxes[image['id']]]
    crowded.sort(key=lambda image: -len(boxes[image['id']]))
    predictor = PosePredictor(init_model(get_config(config), str(checkpoint), device='cpu'))
    out.parent.mkdir(exist_ok=True)
    tiles = []
    for name, people in ((image['file_name'], boxes[image['id']]) for image in crowded[:6]):
        image = cv2.imread(str(images / name))
        scale = HEIGHT / image.shape[0]
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        found = predictor.predict(image, np.array(people) * scale)
        poses = [pose_of(person) for person in found]
        tiles.append(draw_people(image, poses, predictor.meta, keypoint_thr=SEEN))
        cv2.imwrite(str(out.with_name(f'{Path(name).stem}_poses.jpg')), tiles[-1])
    rows = [np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)]
    width = max(row.shape[1] for row in rows)
    sheet = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    cv2.imwrite(str(out), np.vstack(sheet))


def pose_ap(annotations: Path, results: Path) -> float:
    """AP over OKS 0.50:0.95 of a file in COCO's keypoint results format, by pycocotools."""
    content, found = (
        json.loads(path.read_text(encoding='utf-8')) for path in (annotations, results)
    )
    return evaluate(content, found, np.array([*coco_sigmas().values()]))['AP']
