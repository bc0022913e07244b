"""Drawn fish, seen from above, with six keypoints: an animal that no model here has learned."""

import cv2
import numpy as np

NAMES = ['snout', 'left_fin', 'right_fin', 'back', 'left_tail', 'right_tail']
LIMBS = [[1, 4], [4, 2], [4, 3], [4, 5], [4, 6]]
# Along the fish from the tail to the snout, and to its left, as parts of its length.
PLACES = np.array([[0.5, 0], [0.12, 0.3], [0.12, -0.3], [-0.08, 0], [-0.5, 0.17], [-0.5, -0.17]])


def water(rng, width, height):
    coarse = rng.integers(60, 170, (height // 24, width // 24, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    picture[..., 0] = np.clip(picture[..., 0].astype(int) + 50, 0, 255)
    for _ in range(rng.integers(4, 12)):
        centre = tuple(int(v) for v in rng.uniform((0, 0), (width, height)))
        axes = tuple(int(v) for v in rng.uniform(6, 30, 2))
        colour = [int(v) for v in rng.uniform(40, 150, 3)]
        cv2.ellipse(picture, centre, axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    return picture


def draw(rng, picture, centre, length, heading):
    """Draws a fish, and gives its keypoints (6, 2) and box x, y, width, height."""
    along = np.array([np.cos(heading), np.sin(heading)])
    left = np.array([along[1], -along[0]])  # y points down

    def place(parts):
        parts = np.asarray(parts, float).reshape(-1, 2) * length
        return centre + parts[:, :1] * along + parts[:, 1:] * left

    def fill(parts, colour):
        points = np.round(place(parts) * 16).astype(np.int32)
        cv2.fillPoly(picture, [points], colour, cv2.LINE_AA, 4)

    body, fins = (
        tuple(int(v) for v in rng.uniform(low, high, 3)) for low, high in ((90, 255), (20, 200))
    )
    bend = rng.uniform(-0.04, 0.04)
    fill([[0.2, 0.08], [0.12, 0.3], [0.0, 0.1]], fins)
    fill([[0.2, -0.08], [0.12, -0.3], [0.0, -0.1]], fins)
    fill([[-0.3, bend], [-0.5, 0.17], [-0.4, bend], [-0.5, -0.17]], fins)
    angles = np.linspace(0, 2 * np.pi, 40)
    width = 0.13 * np.clip(1.25 + np.cos(angles), 0.35, 2) / 1.6
    fill(np.stack([0.08 + 0.42 * np.cos(angles), width * np.sin(angles)], axis=1), body)
    fill([[0.1, 0.012], [-0.08, 0.03], [-0.2, 0], [-0.08, -0.03], [0.1, -0.012]], fins)
    for side in (1, -1):
        eye = place([0.38, side * 0.075])[0]
        cv2.circle(
            picture, tuple(np.round(eye).astype(int)), max(2, int(length / 40)), (10, 10, 10), -1
        )
    points = place(PLACES)
    low, high = points.min(axis=0) - 3, points.max(axis=0) + 3
    return points, [*low, *(high - low)]


def make_fish(folder, count, *, seed=0, size=(480, 360)):
    """Draws pictures with one or two fish each into a folder, and gives COCO's content."""
    rng, (width, height) = np.random.default_rng(seed), size
    folder.mkdir(parents=True, exist_ok=True)
    images, people = [], []
    for number in range(1, count + 1):
        picture, name = water(rng, width, height), f'fish{number:04}.jpg'
        images.append(dict(id=number, file_name=name, width=width, height=height))
        for index in range(rng.integers(1, 3)):
            centre = np.array([width * (0.3 + 0.4 * index), height * rng.uniform(0.35, 0.65)])
            heading, length = rng.normal(0, 0.5), rng.uniform(110, 190)
            points, box = draw(rng, picture, centre, length, heading)
            flags = (points >= 0).all(axis=1) & (points < (width, height)).all(axis=1)
            keypoints = []
            for point, flag in zip(points, flags, strict=True):
                keypoints += [*(round(float(v), 1) for v in point), 2] if flag else [0, 0, 0]
            box = [round(float(v), 1) for v in box]
            person = dict(id=len(people) + 1, image_id=number, category_id=1, bbox=box, iscrowd=0)
            person |= dict(area=round(0.4 * box[2] * box[3], 1), keypoints=keypoints)
            people.append(person | dict(num_keypoints=int(flags.sum())))
        cv2.imwrite(str(folder / name), picture)
    category = dict(id=1, name='fish', keypoints=NAMES, skeleton=LIMBS)
    return dict(images=images, annotations=people, categories=[category])
