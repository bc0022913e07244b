"""MMPose's own ways to poses take this package's configs and weights as they are."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import mmpose
import pytest
from films import write_video
from mmpose.apis import MMPoseInferencer
from mmpose.visualization import PoseLocalVisualizer

from mspn_plugin import get_config

pytest.importorskip('mmdet.apis')
DEMO = Path(mmpose.__file__).parent / '.mim' / 'demo' / 'topdown_demo_with_mmdet.py'
pytestmark = pytest.mark.slow


def test_the_inferencer_and_the_demo_script(untrained_models, people, tmp_path, monkeypatch):
    det_config, det_weights, pose_config, pose_weights = untrained_models
    pose = dict(pose2d=get_config(pose_config), pose2d_weights=str(pose_weights))
    detector = dict(det_model=str(det_config), det_weights=str(det_weights), det_cat_ids=[0])
    inferencer = MMPoseInferencer(**pose, **detector, device='cpu')
    images = sorted((people / 'val2017').iterdir())
    pictures = [cv2.resize(cv2.imread(str(image)), (160, 120)) for image in images[:2]]
    video = write_video(tmp_path / 'people.mp4', pictures, size=(160, 120))
    for source, count, drawn in ((images[0], 1, 1), (images[0].parent, 3, 3), (video, 2, 1)):
        out = tmp_path / source.stem
        results = list(inferencer(str(source), bbox_thr=0.0, nms_thr=0.2, out_dir=str(out)))
        assert len(results) == count and len(list((out / 'visualizations').iterdir())) == drawn
        found = [person for result in results for person in result['predictions'][0]]
        assert len(found) > count  # several people in an image: boxes are a detector's
        assert all(len(person['keypoints']) == 17 for person in found)
    image = shutil.copy(images[0], tmp_path / 'one.jpg')
    PoseLocalVisualizer._instance_dict.clear()
    arguments = [det_config, det_weights, get_config(pose_config), pose_weights]
    options = ['--input', image, '--output-root', tmp_path / 'out', '--save-predictions']
    limits = ['--device', 'cpu', '--bbox-thr', 0, '--nms-thr', 0.2]
    monkeypatch.setattr(sys, 'argv', [str(DEMO), *map(str, [*arguments, *options, *limits])])
    runpy.run_path(str(DEMO), run_name='__main__')
    found = json.loads((tmp_path / 'out' / 'results_one.json').read_text())['instance_info']
    assert len(found) > 1 and all(len(person['keypoints']) == 17 for person in found)
    assert (tmp_path / 'out' / 'one.jpg').is_file()
