"""A dressed body as solids, and which labelled part each joint belongs to."""

from __future__ import annotations

from .anatomy import KEYPOINT_NAMES, SIDES, Body
from .outfit import Outfit
from .raster import Solid

_SIDED = (
    'face',
    'skull',
    'eye',
    'ear',
    'torso',
    'pelvis',
    'upper_arm',
    'forearm',
    'hand',
    'thigh',
    'shin',
    'foot',
)

#: Part name -> label in part maps. 0 is "no person"; "prop" (a seat, a backpack) is drawn with a
#: person but is not one. A left part's label is one below its right counterpart's.
PARTS: dict[str, int] = {'none': 0, 'prop': 1, 'hair': 2, 'neck': 3, 'nose': 4}
PARTS.update(
    {
        f'{side}_{name}': 5 + 2 * i + k
        for i, name in enumerate(_SIDED)
        for k, side in enumerate(SIDES)
    }
)

#: Per joint, the labels that show it. A joint is visible where the part map has one of these within
#: `REACH` pixels.
JOINT_PARTS: tuple[tuple[int, ...], ...] = tuple(
    tuple(PARTS[part] for part in parts)
    for name in KEYPOINT_NAMES
    for side in [name.split('_')[0]]
    for parts in [
        {
            'nose': ('nose',),
            'eye': (f'{side}_eye',),
            'ear': (f'{side}_ear',),
            'shoulder': (f'{side}_upper_arm', f'{side}_torso'),
            'elbow': (f'{side}_upper_arm', f'{side}_forearm'),
            'wrist': (f'{side}_forearm', f'{side}_hand'),
            'hip': (f'{side}_thigh', f'{side}_pelvis'),
            'knee': (f'{side}_thigh', f'{side}_shin'),
            'ankle': (f'{side}_shin', f'{side}_foot'),
        }[name.split('_')[-1]]
    ]
)


def dress(body: Body, outfit: Outfit) -> list[Solid]:
    """Build the solids of a person.

    Args:
        body: The posed body.
        outfit: What it wears.

    Returns:
        Solids for `raster.cast`. Parts that are split down the middle (head, chest, pelvis) carry
        the left label; the renderer gives their right halves the right label.
    """
    solids = _trunk(body, outfit) + _head(body, outfit)
    for side in SIDES:
        solids += _arm(body, outfit, side) + _leg(body, outfit, side)
    if outfit.backpack is not None:
        chest = body.frames['chest']
        lump = ((0, 0.08, -0.085), (0, 0.2, -0.085), (0.085, 0.075))
        solids.append(Solid(chest, *lump, PARTS['prop'], 'backpack', scale=(0.9, 1, 0.75)))
    if body.seat_height is not None:
        height = body.seat_height
        ends = ((0, 0.14, 0), (0, (height - 0.05) / 0.4, 0), (0.115, 0.125))
        solids.append(
            Solid(body.frames['ground'], *ends, PARTS['prop'], 'seat', scale=(1.0, 0.4, 1.0))
        )
    return solids


def _trunk(body: Body, outfit: Outfit) -> list[Solid]:
    build = body.build
    chest, pelvis = body.frames['chest'], body.frames['pelvis']
    torso, hips = PARTS['left_torso'], PARTS['left_pelvis']
    wide, thick = build.shoulders * (0.6 + 0.4 * build.girth), build.girth
    flat = (wide, 1.0, 0.66 * thick / max(wide, 0.1))
    hip = 0.042 * build.hips
    solids = [
        Solid(chest, (0, 0.0, 0.0), (0, 0.188, 0.004), (0.082, 0.1), torso, 'top', flat),
        Solid(
            chest,
            (0.08, 0.256, -0.004),
            (-0.08, 0.256, -0.004),
            (0.041, 0.041),
            torso,
            'top',
            (wide, 1, thick),
        ),
        Solid(
            chest,
            (0, 0.272, -0.006),
            (0, 0.302, -0.002),
            (0.062, 0.036),
            torso,
            'top',
            (wide * 1.2, 1, 0.72),
        ),
        Solid(chest, (0, -0.02, 0.0), (0, 0.06, 0.0), (0.085, 0.082), hips, 'top', flat),
        Solid(
            pelvis,
            (hip, -0.014, -0.004),
            (-hip, -0.014, -0.004),
            (0.061, 0.061),
            hips,
            'bottom',
            (1, 1, thick),
        ),
        # Trousers end in a straight waistband.
        Solid(
            pelvis,
            (0, 0.1, 0),
            (0, -0.05, 0),
            (0.091, 0.101),
            hips,
            'bottom',
            (wide, 0.5, 0.7 * thick),
            (0, -1, 0, -0.05),
        ),
    ]
    neck = Solid(
        body.frames['neck'],
        (0, -0.01, -0.004),
        (0, 0.05, 0.004),
        (0.03, 0.028),
        PARTS['neck'],
        'skin',
    )
    solids.append(neck)
    if outfit.skirt:
        ends = ((0, -0.01, 0), (0, -0.15, 0), (0.106, 0.146))
        solids.append(Solid(pelvis, *ends, hips, 'bottom', (wide, 1, 0.8), cut=(0, 1, 0, -0.16)))
    if not outfit.tucked:
        ends = ((0, -0.06, 0), (0, 0.06, 0), (0.103, 0.086))
        solids.append(
            Solid(chest, *ends, hips, 'top', (wide, 1, 0.72 * thick), cut=(0, 1, 0, -0.072))
        )
    return solids


def _head(body: Body, outfit: Outfit) -> list[Solid]:
    head, k = body.frames['head'], body.build.head
    scale = (0.93 * k, k, 1.04 * k)
    solids = [
        Solid(
            head,
            (0, 0.013, -0.003),
            (0, -0.037, 0.012),
            (0.058, 0.036),
            PARTS['left_face'],
            'head',
            scale,
        ),
        Solid(
            head,
            (0, 0.004, 0.058),
            (0, -0.014, 0.066),
            (0.005, 0.0095),
            PARTS['nose'],
            'skin',
            (k, k, k),
        ),
    ]
    for side, sign in zip(SIDES, (1, -1), strict=True):
        ends = ((sign * 0.145, 0.004, -0.004), (sign * 0.145, -0.012, -0.004), (0.0155, 0.011))
        solids.append(Solid(head, *ends, PARTS[f'{side}_ear'], 'skin', (0.385 * k, k, 0.8 * k)))
    hair, style = PARTS['hair'], outfit.hair_style
    cover = {
        'short': 0.014,
        'bald': 0.014,
        'bob': -0.016,
        'long': -0.016,
        'ponytail': 0.008,
        'bun': 0.008,
    }[style]
    cap = ((0, 0.02, -0.008), (0, -0.012, -0.012), (0.0605, 0.053))
    if style != 'bald':
        swell = 1.0 if cover > 0 else 1.06
        solids.append(
            Solid(
                head,
                *cap,
                hair,
                'hair',
                (0.97 * swell * k, 1.02 * k, 1.04 * swell * k),
                cut=(0, 0.75, -0.66, cover * k),
            )
        )
    if style in ('bob', 'long'):
        down = -0.05 if style == 'bob' else -0.13
        ends = ((0, 0.0, -0.034), (0, down, -0.05), (0.054, 0.04))
        solids.append(Solid(head, *ends, hair, 'hair', (1.08 * k, k, 0.62 * k)))
    elif style == 'ponytail':
        ends = ((0, 0.03, -0.07), (0, -0.075, -0.088), (0.021, 0.012))
        solids.append(Solid(head, *ends, hair, 'hair', (k, k, k)))
    elif style == 'bun':
        solids.append(
            Solid(
                head,
                (0, 0.062, -0.042),
                (0, 0.062, -0.042),
                (0.027, 0.027),
                hair,
                'hair',
                (k, k, k),
            )
        )
    if outfit.hat != 'none':
        grown = (1.05 * k, 1.08 * k, 1.1 * k)
        solids.append(Solid(head, *cap, hair, 'hat', grown, cut=(0, 1, -0.12, 0.026 * k)))
    if outfit.hat == 'cap':
        ends = ((0, 0.2, 0.045), (0, 0.185, 0.085), (0.043, 0.032))
        solids.append(Solid(head, *ends, hair, 'hat', (k, 0.17 * k, k)))
    return solids


def _arm(body: Body, outfit: Outfit, side: str) -> list[Solid]:
    girth, arms = body.build.girth, body.build.arms
    upper, fore, hand = (body.frames[f'{side}_{b}'] for b in ('upper_arm', 'forearm', 'hand'))
    up, low, palm = (PARTS[f'{side}_{b}'] for b in ('upper_arm', 'forearm', 'hand'))
    u, f = -0.168 * arms, -0.148 * arms
    sign = 1 if side == 'left' else -1
    r = tuple(girth * x for x in (0.03, 0.025, 0.0185))
    solids = [
        Solid(fore, (0, 0.3 * f, 0), (0, f, 0), (r[1] * 1.04, r[2]), low, 'skin'),
        Solid(hand, (0, -0.008, 0), (0, -0.04, 0.002), (0.0195, 0.021), palm, 'skin', (0.62, 1, 1)),
        Solid(
            hand, (0, -0.045, 0.003), (0, -0.076, 0.01), (0.0185, 0.0125), palm, 'skin', (0.6, 1, 1)
        ),
        Solid(
            hand,
            (-sign * 0.004, -0.016, 0.014),
            (-sign * 0.008, -0.044, 0.031),
            (0.008, 0.0065),
            palm,
            'skin',
        ),
    ]
    if outfit.sleeves < 1:
        solids.append(Solid(upper, (0, 0, 0), (0, u, 0), (r[0], r[1]), up, 'skin'))
        solids.append(
            Solid(fore, (0, 0, 0), (0, 0.3 * f, 0), (r[1] * 0.98, r[1] * 1.04), low, 'skin')
        )
    share = min(outfit.sleeves, 1.0)
    if share > 0:
        loose = 0.0075 if outfit.sleeves < 1 else 0.0055
        end = r[0] + (r[1] - r[0]) * share + loose
        # The cut makes a straight hem; without it a sleeve would end in a ball.
        hem = (0, 1, 0, u * share) if outfit.sleeves < 1 else None
        solids.append(
            Solid(upper, (0, 0, 0), (0, u * share, 0), (r[0] + 0.0045, end), up, 'top', cut=hem)
        )
    if outfit.sleeves > 1:
        end_y = f * (outfit.sleeves - 1)
        ends = ((0, 0, 0), (0, end_y, 0), (r[1] + 0.0055, r[2] + 0.006))
        solids.append(Solid(fore, *ends, low, 'top', cut=(0, 1, 0, end_y)))
    return solids


def _leg(body: Body, outfit: Outfit, side: str) -> list[Solid]:
    girth, legs = body.build.girth, body.build.legs
    thigh, shin, foot = (body.frames[f'{side}_{b}'] for b in ('thigh', 'shin', 'foot'))
    up, low, shoe = (PARTS[f'{side}_{b}'] for b in ('thigh', 'shin', 'foot'))
    t, s = -0.235 * legs, -0.222 * legs
    r = tuple(girth * x for x in (0.053, 0.0355, 0.0225))
    calf = (0, 0.3 * s, -0.006)
    # Thighs begin below the hips, which are the pelvis's, and under a skirt even lower.
    below = -0.11 if outfit.skirt else -0.04
    solids = [
        Solid(foot, (0, -0.004, -0.004), (0, -0.018, 0.0), (0.027, 0.027), shoe, 'shoe'),
        Solid(
            foot,
            (0, -0.018, -0.01),
            (0, -0.021, 0.086),
            (0.026, 0.021),
            shoe,
            'shoe',
            (0.92, 1, 1),
            (0, 1, 0, -0.041),
        ),
        Solid(
            foot,
            (0, -0.033, -0.01),
            (0, -0.033, 0.084),
            (0.03, 0.0255),
            shoe,
            'sole',
            (0.92, 0.45, 1),
        ),
    ]
    if outfit.legs < 1:
        solids.append(Solid(thigh, (0, below, 0), (0, t, 0), (r[0], r[1]), up, 'skin'))
        solids.append(Solid(shin, (0, 0, 0), calf, (r[1] * 0.95, r[1]), low, 'skin'))
        solids.append(Solid(shin, calf, (0, s, 0), (r[1], r[2]), low, 'skin'))
    else:
        solids.append(Solid(shin, (0, 0.8 * s, 0), (0, s, 0), (r[2], r[2]), low, 'skin'))
    share = min(outfit.legs, 1.0)
    loose = 0.008 if outfit.legs < 1 else 0.005
    if not outfit.skirt:
        end = r[0] + (r[1] - r[0]) * share + loose
        hem = (0, 1, 0, t * share) if outfit.legs < 1 else None
        solids.append(
            Solid(
                thigh, (0, -0.04, 0), (0, t * share, 0), (r[0] + 0.003, end), up, 'bottom', cut=hem
            )
        )
    if outfit.legs > 1:
        end_y = s * (outfit.legs - 1)
        ends = ((0, 0, 0), (0, end_y, 0), (r[1] + 0.005, r[2] + 0.011))
        solids.append(Solid(shin, *ends, low, 'bottom', cut=(0, 1, 0, end_y)))
    return solids
