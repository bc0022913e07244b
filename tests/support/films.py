"""Pictures and films that tests make, and how they read what was written."""

import json

import cv2
import numpy as np


def grey(level, size=(64, 48)):
    return np.full((size[1], size[0], 3), level, np.uint8)


def write_video(path, frames, *, rate=25.0, size=(64, 48)):
    """Writes frames: as many grey ones, each lighter than the one before, or those given."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, size)
    for frame in (grey(20 * i, size) for i in range(frames)) if isinstance(frames, int) else frames:
        writer.write(frame)
    writer.release()
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read(path):
    return json.loads(path.read_text())


class Camera:
    """In place of `cv2.VideoCapture`: knows neither its rate nor its length, and ends early."""

    left = 4

    def __init__(self, source):
        self.isOpened, self.get = (lambda: True), (lambda what: -1.0)

    def read(self):
        self.left -= 1
        return (True, grey(60 * self.left)) if self.left >= 0 else (False, None)


def walk(path, count, size=(64, 48)):
    frames = (grey(90, size) for _ in range(count))
    disc = (size[0] // 2, size[1] // 2), size[1] // 4, (30, 200, 250), -1
    return write_video(path, (cv2.circle(f, *disc) for f in frames), rate=12.5, size=size)
