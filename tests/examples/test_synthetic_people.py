"""The synthetic people: reproducible files, labels that are true of the pictures."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from synthetic_people import make_synthetic_people
from synthetic_people.__main__ import main
from synthetic_people.figure import PARTS, dress, sample_outfit
from synthetic_people.pose import KEYPOINT_NAMES, SIDES, Build, Pose, pose_body
from synthetic_people.scene import REACH, SUPERSAMPLING, make_scene

SIZE = dict(num_train=12, num_val=4, seed=3)
SMALL = dict(num_train=3, num_val=1, seed=5)

# Which parts show a joint, written down here a second time, on purpose.
SHOWN_BY = dict(nose='nose', eye='{}_eye', ear='{}_ear', shoulder='{}_torso {}_upper_arm')
SHOWN_BY |= dict(elbow='{}_upper_arm {}_forearm', wrist='{}_forearm {}_hand')
SHOWN_BY |= dict(hip='{}_pelvis {}_thigh', knee='{}_thigh {}_shin', ankle='{}_shin {}_foot')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_synthetic_people(tmp_path_factory.mktemp('data') / 'people', **SIZE, workers=1)


def all_files(root):
    files = (path for path in root.rglob('*') if path.is_file())
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def test_same_bytes_for_any_number_of_workers(tmp_path):
    def make(seed, workers):
        root = tmp_path / f'{seed} {workers}'
        make_synthetic_people(root, **{**SMALL, 'seed': seed}, workers=workers)
        return {name: content for name, (content, _) in all_files(root).items()}

    one, two, other = make(5, 1), make(5, 2), make(6, 1)
    assert (
        one == two and one.keys() == other.keys() and all(one[name] != other[name] for name in one)
    )


def test_files_and_labels_agree_with_pycocotools(data):
    assert len(list(data.root.iterdir())) == 4  # annotations, pictures and the marker
    train, val = COCO(str(data.train_annotations)), COCO(str(data.val_annotations))
    assert [*train.imgs] == list(range(1, 13)) and [*val.imgs] == list(range(13, 17))
    assert len({*train.anns, *val.anns}) == len(train.anns) + len(val.anns) >= 16
    assert train.dataset['info']['recipe'] == {'version': 3, **SIZE}
    assert train.cats[1]['keypoints'] == list(KEYPOINT_NAMES)
    pictures = {p.name: cv2.imread(str(p)) for p in data.root.glob('*2017/*.jpg')}
    assert pictures.keys() == {f'{number:012d}.jpg' for number in range(1, 17)}
    flags = []
    for person in (*train.anns.values(), *val.anns.values()):
        coco = train if person['id'] in train.anns else val
        image, mask = coco.imgs[person['image_id']], coco.annToMask(person)
        picture, size = pictures[image['file_name']], np.array([image['width'], image['height']])
        assert picture.shape[:2] == mask.shape == tuple(size[::-1]) and picture.std() > 10
        assert person['area'] == mask.sum() > 0 and person['iscrowd'] == 0
        assert person['bbox'] == mask_api.toBbox(person['segmentation']).tolist()
        keypoints = np.array(person['keypoints'], float).reshape(17, 3)
        points, v = keypoints[:, :2], keypoints[:, 2]
        assert person['num_keypoints'] == (v > 0).sum() >= 8 and not points[v == 0].any()
        assert ((points[v > 0] >= 0) & (points[v > 0] <= size - 1)).all()
        corner, extent = np.split(np.array(person['bbox']), 2)
        assert (corner >= 0).all() and (extent > 0).all() and (corner + extent <= size).all()
        assert ((points[v == 2] >= corner - 2) & (points[v == 2] <= corner + extent + 1)).all()
        flags += v.tolist()
    assert set(flags) == {0, 1, 2}
    assert 0.6 < np.mean(np.equal(flags, 2)) < 0.95 and 0.02 < np.mean(np.equal(flags, 1)) < 0.35


def test_visibility_and_masks_are_true_of_the_picture():
    scenes = [make_scene(np.random.default_rng((11, i))) for i in range(16)]
    counts = {0: 0, 1: 0, 2: 0}
    people = [(s, i, p) for s in scenes for i, p in enumerate(s.people, start=1)]
    for scene, number, person in people:
        covered = np.count_nonzero(scene.owners == number) / SUPERSAMPLING**2
        assert person.mask.sum() == pytest.approx(covered, rel=0.1, abs=30)
        for name, (x, y, v) in zip(KEYPOINT_NAMES, person.keypoints.tolist(), strict=True):
            side, kind = name.split('_')[0], name.split('_')[-1]
            shown_by = [PARTS[part.format(side)] for part in SHOWN_BY[kind].split()]
            sx, sy = (SUPERSAMPLING * c + 0.5 * (SUPERSAMPLING - 1) for c in (x, y))
            rows, cols = np.nonzero((scene.owners == number) & np.isin(scene.parts, shown_by))
            distance = np.maximum(abs(rows - sy), abs(cols - sx)).min(initial=np.inf)
            # Coordinates are rounded to 0.1 pixels, and the window to whole subpixels.
            if v == 2:
                assert distance <= REACH + 0.8, (name, distance)
            elif v == 1:
                assert distance >= REACH + 0.2, (name, distance)
                if kind in ('nose', 'eye', 'ear'):  # on the far side of a head they are 0
                    rows, cols = (slice(max(round(c) - 1, 0), round(c) + 2) for c in (sy, sx))
                    assert (scene.owners[rows, cols] != number).any(), name
            counts[int(v)] += 1
    assert min(counts.values()) > 20
    assert all(scene.owners.max() == len(scene.people) >= 1 for scene in scenes)
    assert max(np.sum([p.mask for p in scene.people], axis=0).max() for scene in scenes) <= 2


def test_complete_files_are_kept_and_interrupted_runs_start_again(tmp_path):
    calls, collect = [], lambda *done: calls.append(done)
    with pytest.raises(ZeroDivisionError):
        make_synthetic_people(tmp_path, **SMALL, workers=1, progress=lambda done, total: 1 // 0)
    assert not list((tmp_path / 'annotations').iterdir())
    paths = make_synthetic_people(tmp_path, **SMALL, workers=1, progress=collect)
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    before = all_files(tmp_path)
    assert make_synthetic_people(str(tmp_path), **SMALL, progress=pytest.fail) == paths
    assert all_files(tmp_path) == before


def test_refusals_and_the_command_line(data, tmp_path, capsys):
    (tmp_path / 'thesis.txt').write_text('precious')
    before = all_files(data.root)
    for root, size, message in (
        (tmp_path, SMALL, 'holds no synthetic people'),
        (tmp_path / 'thesis.txt', SMALL, 'is a file'),
        (data.root, {**SIZE, 'seed': 4}, 'Name another folder, or delete this one'),
        *((tmp_path / 'new', {name: -1}, name) for name in SIZE),
    ):
        with pytest.raises(ValueError, match=message):
            make_synthetic_people(root, **size)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.txt']
    assert all_files(data.root) == before
    command = [str(tmp_path / 'people'), '--val', '1', '--workers', '1', '--train']
    assert main([*command, '1']) == 0 and '1 images' in capsys.readouterr().out
    assert main([*command, '2']) == 2 and 'error: ' in capsys.readouterr().err


@pytest.mark.parametrize('yaw', [0, 180])
def test_left_and_right_follow_the_heading(yaw):
    body = pose_body(Pose(np.zeros((2, 4)), np.zeros((2, 4)), yaw=yaw), Build())
    x, y, z = (dict(zip(KEYPOINT_NAMES, axis, strict=True)) for axis in body.keypoints.T)
    assert (z['nose'] > z['left_ear']) == (yaw == 0)
    assert y['nose'] > y['left_shoulder'] > y['left_hip'] > y['left_knee'] > y['left_ankle'] > 0
    for joint in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle', 'eye', 'ear'):
        # Who faces the camera has the left side on the right of the image.
        assert (x[f'left_{joint}'] > x[f'right_{joint}']) == (yaw == 0)
    ids = np.zeros((600, 400), np.int32)
    mesh = dress(body, sample_outfit(np.random.default_rng(0))).finish(np.array([0, 0, 1]), 0.5)
    mesh.draw(ids, 1, (200, 550), 500)
    seen = np.append(0, mesh.parts)[ids]
    for part in ('torso', 'pelvis', 'upper_arm', 'forearm', 'hand', 'thigh', 'shin', 'foot'):
        left, right = (np.nonzero(seen == PARTS[f'{s}_{part}'])[1].mean() for s in SIDES)
        assert (left > right) == (yaw == 0)
    assert [PARTS[p] in seen for p in ('nose', 'left_eye', 'right_eye')] == 3 * [yaw == 0]
