"""What the demo's people do: random poses, as joint angles of an articulated figure.

Angles are in degrees. The body frame has x to the person's own left, y up and z to the front; all
angles are zero for a person who stands upright with hanging arms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Limb:
    """Angles of an arm or leg, in degrees; equal angles make left and right mirror images.

    Attributes:
        flex: How far the limb is raised to the front.
        abduct: How far it is raised to its own side, away from the body.
        twist: Turn about its own axis, positive outwards. It decides where a bent elbow or knee
            points.
        bend: Bend of the elbow (forearm to the front) or of the knee (shin to the back).
    """

    flex: float = 0.0
    abduct: float = 0.0
    twist: float = 0.0
    bend: float = 0.0


@dataclass(frozen=True)
class Pose:
    """A whole posture. Pairs are (left, right); angles in degrees.

    Attributes:
        name: Kind of pose, a key of `POSES`.
        arms: Left and right arm.
        legs: Left and right leg.
        yaw: Heading: 0 faces the camera, 90 faces the right edge of the image, 180 shows the back.
        lean: (forward, sideways) tilt of the pelvis.
        spine: (forward, sideways, twist) of the chest against the pelvis.
        head: (nod, turn, tilt) of the head against the chest.
        seated: Whether a seat belongs under the pelvis.
    """

    name: str
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]
    yaw: float = 0.0
    lean: tuple[float, float] = (0.0, 0.0)
    spine: tuple[float, float, float] = (0.0, 0.0, 0.0)
    head: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seated: bool = False


def _hanging_arm(rng: np.random.Generator) -> Limb:
    return Limb(rng.normal(2, 8), rng.uniform(7, 20), rng.uniform(-35, 5), rng.uniform(6, 35))


def _standing_leg(rng: np.random.Generator) -> Limb:
    return Limb(rng.normal(0, 4), rng.uniform(1.5, 8), rng.uniform(3, 16), rng.uniform(0, 7))


def _raised_arm(rng: np.random.Generator) -> Limb:
    return Limb(rng.normal(5, 8), rng.uniform(105, 160), rng.uniform(60, 100), rng.uniform(5, 70))


def _akimbo_arm(rng: np.random.Generator) -> Limb:
    return Limb(
        rng.uniform(-20, -5), rng.uniform(40, 52), rng.uniform(-85, -65), rng.uniform(82, 100)
    )


def _holding_arm(rng: np.random.Generator) -> Limb:
    return Limb(rng.uniform(10, 40), rng.uniform(4, 16), rng.uniform(-35, -5), rng.uniform(65, 110))


def _reaching_arm(rng: np.random.Generator) -> Limb:
    return Limb(rng.uniform(60, 95), rng.uniform(10, 45), rng.uniform(-20, 10), rng.uniform(0, 30))


def _stand(rng: np.random.Generator) -> Pose:
    return Pose(
        'stand',
        (_hanging_arm(rng), _hanging_arm(rng)),
        (_standing_leg(rng), _standing_leg(rng)),
        lean=(0.0, rng.normal(0, 2)),
        spine=(rng.normal(2, 3), rng.normal(0, 3), rng.normal(0, 6)),
    )


def _akimbo(rng: np.random.Generator) -> Pose:
    other = _akimbo_arm(rng) if rng.random() < 0.6 else _hanging_arm(rng)
    return replace(_stand(rng), name='akimbo', arms=(_akimbo_arm(rng), other))


def _wave(rng: np.random.Generator) -> Pose:
    other = _raised_arm(rng) if rng.random() < 0.45 else _hanging_arm(rng)
    return replace(_stand(rng), name='wave', arms=(_raised_arm(rng), other))


def _hold(rng: np.random.Generator) -> Pose:
    other = _holding_arm(rng) if rng.random() < 0.7 else _hanging_arm(rng)
    return replace(_stand(rng), name='hold', arms=(_holding_arm(rng), other))


def _reach(rng: np.random.Generator) -> Pose:
    other = _reaching_arm(rng) if rng.random() < 0.3 else _hanging_arm(rng)
    return replace(_stand(rng), name='reach', arms=(_reaching_arm(rng), other))


def _walk(rng: np.random.Generator) -> Pose:
    stride = rng.uniform(14, 30)
    arm = Limb(0, rng.uniform(7, 14), rng.uniform(-25, 0), rng.uniform(12, 40))
    front = Limb(stride, rng.uniform(0, 4), rng.uniform(2, 8), rng.uniform(4, 16))
    back = Limb(-0.7 * stride, rng.uniform(0, 4), rng.uniform(2, 8), rng.uniform(10, 34))
    return Pose(
        'walk',
        (replace(arm, flex=-stride), replace(arm, flex=stride * 0.9)),
        (front, back),
        lean=(rng.uniform(0, 4), 0.0),
        spine=(rng.uniform(0, 6), 0.0, rng.uniform(-10, 0)),
    )


def _run(rng: np.random.Generator) -> Pose:
    swing = rng.uniform(25, 50)
    arm = Limb(0, rng.uniform(10, 22), rng.uniform(-30, -10), rng.uniform(70, 105))
    return Pose(
        'run',
        (replace(arm, flex=-swing), replace(arm, flex=0.8 * swing)),
        (
            Limb(rng.uniform(35, 70), 3.0, 4.0, rng.uniform(45, 90)),
            Limb(-rng.uniform(12, 28), 3.0, 4.0, rng.uniform(25, 75)),
        ),
        lean=(rng.uniform(4, 10), 0.0),
        spine=(rng.uniform(3, 12), 0.0, rng.uniform(-14, -2)),
        head=(-8.0, 0.0, 0.0),
    )


def _lunge(rng: np.random.Generator) -> Pose:
    arms = [_hanging_arm, _akimbo_arm, _reaching_arm, _raised_arm][int(rng.integers(4))]
    return Pose(
        'lunge',
        (arms(rng), arms(rng)),
        (
            Limb(rng.uniform(45, 68), rng.uniform(3, 12), 5.0, rng.uniform(45, 68)),
            Limb(-rng.uniform(20, 34), rng.uniform(2, 8), 5.0, rng.uniform(12, 30)),
        ),
        spine=(rng.uniform(0, 8), 0.0, rng.normal(0, 6)),
    )


def _wide(rng: np.random.Generator) -> Pose:
    arms = tuple(
        Limb(rng.normal(0, 8), rng.uniform(50, 100), rng.uniform(-20, 90), rng.uniform(5, 60))
        for _ in range(2)
    )
    legs = tuple(
        Limb(rng.normal(6, 5), rng.uniform(12, 24), rng.uniform(8, 24), rng.uniform(0, 20))
        for _ in range(2)
    )
    return Pose(
        'wide',
        (arms[0], arms[1]),
        (legs[0], legs[1]),
        spine=(rng.uniform(0, 6), rng.normal(0, 6), rng.normal(0, 8)),
    )


def _sit(rng: np.random.Generator) -> Pose:
    arm = Limb(rng.uniform(12, 40), rng.uniform(6, 16), rng.uniform(-25, 0), rng.uniform(30, 75))
    legs = tuple(
        Limb(rng.uniform(78, 92), rng.uniform(5, 18), rng.uniform(0, 8), rng.uniform(70, 95))
        for _ in range(2)
    )
    other = arm if rng.random() < 0.6 else _raised_arm(rng)
    return Pose(
        'sit',
        (arm, other),
        (legs[0], legs[1]),
        lean=(rng.uniform(-6, 4), 0.0),
        spine=(rng.uniform(-2, 14), rng.normal(0, 3), rng.normal(0, 5)),
        seated=True,
    )


def _squat(rng: np.random.Generator) -> Pose:
    arm = _reaching_arm if rng.random() < 0.5 else _holding_arm
    leg = Limb(rng.uniform(82, 105), rng.uniform(10, 26), rng.uniform(8, 20), rng.uniform(95, 120))
    return Pose(
        'squat',
        (arm(rng), arm(rng)),
        (leg, replace(leg, flex=leg.flex + rng.normal(0, 4))),
        lean=(rng.uniform(10, 20), 0.0),
        spine=(rng.uniform(12, 24), 0.0, rng.normal(0, 5)),
        head=(-18.0, 0.0, 0.0),
    )


def _bow(rng: np.random.Generator) -> Pose:
    bend = rng.uniform(28, 50)
    arms = tuple(
        Limb(bend + rng.uniform(0, 40), rng.uniform(4, 18), rng.uniform(-20, 0), rng.uniform(5, 35))
        for _ in range(2)
    )
    return replace(
        _stand(rng),
        name='bow',
        arms=(arms[0], arms[1]),
        lean=(rng.uniform(6, 16), 0.0),
        spine=(bend, rng.normal(0, 4), rng.normal(0, 6)),
        head=(-20.0, 0.0, 0.0),
    )


#: Kind of pose -> (its share, its sampler). The shares sum to 1.
POSES: dict[str, tuple[float, Callable[[np.random.Generator], Pose]]] = {
    'stand': (0.20, _stand),
    'walk': (0.19, _walk),
    'akimbo': (0.09, _akimbo),
    'wave': (0.11, _wave),
    'hold': (0.08, _hold),
    'reach': (0.06, _reach),
    'run': (0.08, _run),
    'wide': (0.07, _wide),
    'lunge': (0.03, _lunge),
    'sit': (0.05, _sit),
    'squat': (0.02, _squat),
    'bow': (0.02, _bow),
}

#: (share, centre, spread) of the headings in degrees: front, back, three-quarter front, side,
#: three-quarter back. As in photographs, most people face the camera.
_HEADINGS = (
    (0.58, 0.0, 16.0),
    (0.10, 180.0, 16.0),
    (0.22, 42.0, 10.0),
    (0.06, 85.0, 10.0),
    (0.04, 138.0, 10.0),
)


def sample_pose(rng: np.random.Generator) -> Pose:
    """Draw a plausible posture, seen from a random side.

    Args:
        rng: Source of randomness.

    Returns:
        The pose, mirrored in half of the cases.
    """
    names = list(POSES)
    name = names[int(rng.choice(len(names), p=[POSES[n][0] for n in names]))]
    pose = POSES[name][1](rng)
    if rng.random() < 0.5:
        pose = replace(pose, arms=pose.arms[::-1], legs=pose.legs[::-1])
        side, twist = -pose.spine[1], -pose.spine[2]
        pose = replace(pose, spine=(pose.spine[0], side, twist), lean=(pose.lean[0], -pose.lean[1]))
    heading = int(rng.choice(len(_HEADINGS), p=[h[0] for h in _HEADINGS]))
    _, centre, spread = _HEADINGS[heading]
    yaw = float(rng.choice([-1.0, 1.0])) * (centre + float(rng.normal(0, spread)))
    nod, turn, tilt = pose.head
    head = (nod + rng.normal(3, 6), turn + rng.normal(0, 14), tilt + rng.normal(0, 5))
    return replace(pose, yaw=yaw, head=head)
