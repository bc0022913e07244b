"""The synthetic people: reproducible files, labels that are true of the pictures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from synthetic_people import SyntheticPeople, make_synthetic_people
from synthetic_people.__main__ import main
from synthetic_people.anatomy import KEYPOINT_NAMES, Build, pose_body
from synthetic_people.body import PARTS
from synthetic_people.coco import encode_mask
from synthetic_people.layers import SUPERSAMPLING
from synthetic_people.pose import POSES, Limb, Pose
from synthetic_people.raster import Solid, cast
from synthetic_people.scene import REACH, Scene, make_scene

SIZE = dict(num_train=12, num_val=4, seed=3)

# Which parts show a joint, written down here a second time, on purpose.
SHOWN_BY = {
    'nose': ['nose'],
    'eye': ['{}_eye'],
    'ear': ['{}_ear'],
    'shoulder': ['{}_torso', '{}_upper_arm'],
    'elbow': ['{}_upper_arm', '{}_forearm'],
    'wrist': ['{}_forearm', '{}_hand'],
    'hip': ['{}_pelvis', '{}_thigh'],
    'knee': ['{}_thigh', '{}_shin'],
    'ankle': ['{}_shin', '{}_foot'],
}


@pytest.fixture(scope='module')
def people(tmp_path_factory: pytest.TempPathFactory) -> SyntheticPeople:
    root = tmp_path_factory.mktemp('synthetic') / 'people'
    return make_synthetic_people(root, **SIZE, workers=1)


@pytest.fixture(scope='module')
def scenes() -> list[Scene]:
    return [make_scene(np.random.default_rng((11, i))) for i in range(16)]


def all_files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def load(path: Path) -> dict:
    return json.loads(path.read_text())


def test_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    size = dict(num_train=3, num_val=1, seed=5)
    one = make_synthetic_people(tmp_path / 'one', **size, workers=1)
    two = make_synthetic_people(tmp_path / 'two', **size, workers=2)
    other = make_synthetic_people(tmp_path / 'other', **{**size, 'seed': 6}, workers=1)
    assert all_files(one.root) == all_files(two.root)
    assert all_files(one.train_images) != all_files(other.train_images)


def test_layout_and_ids(people: SyntheticPeople) -> None:
    assert sorted(p.name for p in people.root.iterdir()) == [
        'annotations',
        'synthetic_people.json',
        'train2017',
        'val2017',
    ]
    train, val = load(people.train_annotations), load(people.val_annotations)
    assert [i['id'] for i in train['images']] == list(range(1, 13))
    assert [i['id'] for i in val['images']] == list(range(13, 17))
    assert train['images'][0]['file_name'] == '000000000001.jpg'
    ids = [a['id'] for content in (train, val) for a in content['annotations']]
    assert len(set(ids)) == len(ids)
    assert train['categories'][0]['keypoints'] == list(KEYPOINT_NAMES)
    assert train['info']['recipe'] == {'version': 2, **SIZE}
    for content, folder in ((train, people.train_images), (val, people.val_images)):
        for image in content['images']:
            picture = cv2.imread(str(folder / image['file_name']))
            assert picture.shape == (image['height'], image['width'], 3)
            assert picture.std() > 10


def test_annotations_agree_with_pycocotools(people: SyntheticPeople) -> None:
    coco = COCO(str(people.train_annotations))
    assert len(coco.getAnnIds()) >= len(coco.getImgIds()) == 12
    for annotation in coco.loadAnns(coco.getAnnIds()):
        image = coco.imgs[annotation['image_id']]
        mask = coco.annToMask(annotation)
        assert mask.shape == (image['height'], image['width'])
        assert annotation['area'] == mask.sum() > 0
        assert annotation['bbox'] == mask_api.toBbox(annotation['segmentation']).tolist()
        assert annotation['iscrowd'] == 0


def test_keypoints_lie_where_they_may(people: SyntheticPeople) -> None:
    flags = []
    for path in (people.train_annotations, people.val_annotations):
        content = load(path)
        sizes = {i['id']: (i['width'], i['height']) for i in content['images']}
        for annotation in content['annotations']:
            width, height = sizes[annotation['image_id']]
            x, y, v = np.array(annotation['keypoints'], float).reshape(17, 3).T
            assert set(v) <= {0, 1, 2}
            assert annotation['num_keypoints'] == (v > 0).sum() >= 8
            assert not x[v == 0].any() and not y[v == 0].any()
            assert ((x[v > 0] >= 0) & (x[v > 0] <= width - 1)).all()
            assert ((y[v > 0] >= 0) & (y[v > 0] <= height - 1)).all()
            left, top, wide, tall = annotation['bbox']
            assert 0 <= left < left + wide <= width and 0 <= top < top + tall <= height
            seen = v == 2
            assert (x[seen] >= left - 2).all() and (x[seen] <= left + wide + 1).all()
            assert (y[seen] >= top - 2).all() and (y[seen] <= top + tall + 1).all()
            flags += v.tolist()
    assert 0.6 < np.mean(np.array(flags) == 2) < 0.95
    assert 0.02 < np.mean(np.array(flags) == 1) < 0.35


def test_visibility_is_true_of_the_picture(scenes: list[Scene]) -> None:
    counts = {1: 0, 2: 0}
    for scene in scenes:
        for number, person in enumerate(scene.people, start=1):
            for name, (x, y, v) in zip(KEYPOINT_NAMES, person.keypoints.tolist(), strict=True):
                if v == 0:
                    continue
                side, kind = name.split('_')[0], name.split('_')[-1]
                shown_by = [PARTS[part.format(side)] for part in SHOWN_BY[kind]]
                sx, sy = (SUPERSAMPLING * c + 0.5 * (SUPERSAMPLING - 1) for c in (x, y))
                rows, cols = np.nonzero((scene.owners == number) & np.isin(scene.parts, shown_by))
                distance = np.maximum(abs(rows - sy), abs(cols - sx)).min(initial=np.inf)
                # Coordinates are rounded to 0.1 pixels, and the window to whole subpixels.
                if v == 2:
                    assert distance <= REACH + 0.8, (name, distance)
                else:
                    assert distance >= REACH + 0.2, (name, distance)
                    if kind in ('nose', 'eye', 'ear'):  # on the far side of a head they are 0
                        row, col = round(sy), round(sx)
                        around = scene.owners[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
                        assert (around != number).any(), name
                counts[int(v)] += 1
    assert min(counts.values()) > 20


def test_masks_show_the_people(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.owners.max() == len(scene.people) >= 1
        for number, person in enumerate(scene.people, start=1):
            covered = np.count_nonzero(scene.owners == number) / SUPERSAMPLING**2
            assert person.mask.sum() == pytest.approx(covered, rel=0.1, abs=30)
        assert not np.sum([person.mask for person in scene.people], axis=0).max() > 2


def test_second_call_keeps_the_files(tmp_path: Path) -> None:
    size = dict(num_train=2, num_val=1, seed=0)
    calls: list[tuple[int, int]] = []
    paths = make_synthetic_people(
        tmp_path / 'people', **size, workers=1, progress=lambda *done: calls.append(done)
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    before = {p: p.stat().st_mtime_ns for p in paths.root.rglob('*')}
    assert make_synthetic_people(str(paths.root), **size, progress=pytest.fail) == paths
    assert {p: p.stat().st_mtime_ns for p in paths.root.rglob('*')} == before


def test_interrupted_run_starts_again(tmp_path: Path) -> None:
    size = dict(num_train=2, num_val=1, seed=0)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_synthetic_people(tmp_path, **size, workers=1, progress=stop)
    assert not list((tmp_path / 'annotations').iterdir())
    paths = make_synthetic_people(tmp_path, **size, workers=1)
    assert paths.train_annotations.exists() and paths.val_annotations.exists()


def test_refuses_what_it_did_not_write(people: SyntheticPeople, tmp_path: Path) -> None:
    (tmp_path / 'thesis.txt').write_text('precious')
    with pytest.raises(ValueError, match='holds no synthetic people'):
        make_synthetic_people(tmp_path, num_train=1, num_val=1)
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.txt']
    with pytest.raises(ValueError, match='is a file'):
        make_synthetic_people(tmp_path / 'thesis.txt', num_train=1, num_val=1)
    before = all_files(people.root)
    with pytest.raises(ValueError, match='Name another folder, or delete this one'):
        make_synthetic_people(people.root, **{**SIZE, 'seed': 4})
    assert all_files(people.root) == before


@pytest.mark.parametrize('wrong', [{'num_train': 0}, {'num_val': -1}, {'seed': -1}])
def test_numbers_are_checked(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_synthetic_people(tmp_path / 'people', **wrong)
    assert not (tmp_path / 'people').exists()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / 'people')
    assert main([root, '--train', '1', '--val', '1', '--workers', '1']) == 0
    assert '1 images' in capsys.readouterr().out
    assert main([root, '--train', '2', '--val', '1']) == 2
    assert 'error: ' in capsys.readouterr().err


@pytest.mark.parametrize('first', [0, 1])
def test_encoded_masks_decode(first: int) -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 5), (300, 400)):
        noise = cv2.blur(rng.random(shape), (9, 9)) > 0.5
        noise[0, 0] = first
        assert (mask_api.decode(encode_mask(noise)) == noise).all()
    full = np.full((20, 30), first, bool)
    assert (mask_api.decode(encode_mask(full)) == full).all()


def test_rays_hit_a_round_cone_where_marching_does() -> None:
    body = pose_body(Pose('stand', (Limb(), Limb()), (Limb(), Limb()), yaw=30), Build())
    solid = Solid(
        body.frames['left_thigh'], (0, 0, 0), (0, -0.2, 0.05), (0.06, 0.03), 1, 'skin', (1, 1, 0.7)
    )
    surface = cast([solid], 150)
    height, width = surface.depth.shape
    start, end = np.array(solid.start), np.array(solid.end)
    ray_z = np.arange(-0.3, 0.3, 0.0005)
    for row, col in np.argwhere(np.ones((height, width)))[::11]:
        x, y = (surface.origin[0] + col) / 150, (surface.origin[1] - row) / 150
        points = np.stack([np.full_like(ray_z, x), np.full_like(ray_z, y), ray_z], 1)
        inside = (points - solid.frame.origin) @ solid.frame.rotation / solid.scale
        # A round cone is the union of the spheres between its ends.
        steps = np.linspace(0, 1, 60)[:, None, None]
        centres = start + steps * (end - start)
        radii = 0.06 - 0.03 * steps[..., 0]
        outside = (np.linalg.norm(inside - centres, axis=-1) - radii).min(0)
        if (outside < 0).sum() > 20:
            nearest = ray_z[outside < 0].max()
            assert surface.depth[row, col] == pytest.approx(nearest, abs=0.002)
        elif outside.min() > 0.001:
            assert surface.depth[row, col] == -np.inf


@pytest.mark.parametrize('yaw', [0, 180])
def test_left_and_right_follow_the_heading(yaw: float) -> None:
    body = pose_body(Pose('stand', (Limb(), Limb()), (Limb(), Limb()), yaw=yaw), Build())
    x, y, z = (dict(zip(KEYPOINT_NAMES, axis, strict=True)) for axis in body.keypoints.T)
    for joint in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle', 'eye', 'ear'):
        # Who faces the camera has the left side on the right of the image.
        assert (x[f'left_{joint}'] > x[f'right_{joint}']) == (yaw == 0)
    assert (z['nose'] > z['left_ear']) == (yaw == 0)
    assert y['nose'] > y['left_shoulder'] > y['left_hip'] > y['left_knee'] > y['left_ankle'] > 0


def test_shares_of_poses_sum_to_one() -> None:
    assert sum(share for share, _ in POSES.values()) == pytest.approx(1)
