"""Pictures of predicted poses, by MMPose's own inference and drawing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmpose.apis import inference_topdown, init_model
from mmpose.registry import VISUALIZERS
from mmpose.structures import merge_data_samples

_HEIGHT = 480  # of a picture, in pixels: small images are enlarged, so that limbs stay apart
_SEEN = 0.6  # score of a keypoint worth drawing; an empty heatmap scores 0.5


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


def draw_poses(
    config: Path, checkpoint: Path, images: Path, people: list[tuple[str, np.ndarray]], out: Path
) -> list[Path]:
    """Predicts the poses of the people in some images and draws them.

    Args:
        config: The model's config.
        checkpoint: Its weights.
        images: The folder of the images.
        people: File names and boxes, as `most_crowded` gives them.
        out: The folder to write to; one more picture there shows all of them.

    Returns:
        The pictures, the one that shows all of them last.
    """
    model = init_model(str(config), str(checkpoint), device='cpu')
    painter = VISUALIZERS.build(model.cfg.visualizer)
    painter.set_dataset_meta(model.dataset_meta)
    out.mkdir(parents=True, exist_ok=True)
    pictures, tiles = [], []
    for name, boxes in people:
        image: np.ndarray = np.asarray(mmcv.imread(str(images / name)))
        scale = max(1.0, _HEIGHT / image.shape[0])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        poses = inference_topdown(model, image, boxes * scale)
        picture = out / f'{Path(name).stem}_poses.jpg'
        painter.line_width, painter.radius = 3, 4
        painter.add_datasample(
            name,
            mmcv.imconvert(image, 'bgr', 'rgb'),
            merge_data_samples(poses),
            draw_gt=False,
            draw_bbox=True,
            kpt_thr=_SEEN,
            out_file=str(picture),
        )
        drawn: np.ndarray = np.asarray(mmcv.imread(str(picture)))
        width = round(drawn.shape[1] * _HEIGHT / drawn.shape[0])
        tiles.append(cv2.resize(drawn, (width, _HEIGHT), interpolation=cv2.INTER_AREA))
        pictures.append(picture)
    overview = out / 'overview.jpg'
    cv2.imwrite(str(overview), _sheet(tiles))
    return [*pictures, overview]


def _sheet(tiles: list[np.ndarray], columns: int = 3) -> np.ndarray:
    """Tiles of one height in rows of ``columns``, each row padded to the widest."""
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])
