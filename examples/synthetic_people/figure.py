"""A person as a mesh: a posed body in random clothes, each quadrangle labelled with its part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .mesh import Mesh, blob, tube
from .pose import KEYPOINT_NAMES, SIDES, Body, FloatArray

_SIDED = (
    *('face', 'eye', 'ear', 'torso', 'pelvis'),
    *('upper_arm', 'forearm', 'hand', 'thigh', 'shin', 'foot'),
)
#: Part -> label. 0 is "no person"; "prop" (a seat) is drawn with a person but is not one. A left
#: part's label is one below its right counterpart's.
PARTS = {'none': 0, 'prop': 1, 'hair': 2, 'neck': 3, 'nose': 4}
for _name in _SIDED:
    PARTS |= {f'{side}_{_name}': len(PARTS) + k for k, side in enumerate(SIDES)}

_SHOWN_BY = {
    'nose': ('nose',),
    'eye': ('{}_eye',),
    'ear': ('{}_ear',),
    'shoulder': ('{}_upper_arm', '{}_torso'),
    'elbow': ('{}_upper_arm', '{}_forearm'),
    'wrist': ('{}_forearm', '{}_hand'),
    'hip': ('{}_thigh', '{}_pelvis'),
    'knee': ('{}_thigh', '{}_shin'),
    'ankle': ('{}_shin', '{}_foot'),
}
#: Per joint, the labels that show it.
JOINT_PARTS = tuple(
    tuple(PARTS[part.format(name.split('_')[0])] for part in _SHOWN_BY[name.split('_')[-1]])
    for name in KEYPOINT_NAMES
)


def _palette(codes: str) -> FloatArray:
    return np.array([list(bytes.fromhex(code)) for code in codes.split()]) / 255


_SKIN = _palette('f6d7c3 f0c4a4 e5b08a d49a72 b97d56 96603f 74472e 55331f')
_HAIR = _palette('17130f 2a1b12 46301f 6b4526 8f6435 c39a5b dcc38c a34a22 8d8d90 d9d6d0')
_BRIGHT = _palette(
    'd1495b edae49 00798c 30638e 003d5b f4f1de e07a5f 3d405b 81b29a f2cc8f 6a4c93 1982c4 8ac926 '
    'ff595e ffca3a 222831 eeeeee 7d8597 588157 9d0208 ffffff 355070 06d6a0 8d6a9f bc6c25'
)
_DULL = _palette(
    '22303f 3d5a80 1b263b 4a4e69 6b705c a98467 d6ccc2 2b2d42 5c677d 333533 7f5539 8f2d3b'
)
_SHOES = _palette('f5f5f5 1c1c1c e63946 457b9d 6f4518 ffb703 2a9d8f d9d9d9 3a3a3a')
_DARK, _WHITE, _RED = np.array([[0.1, 0.07, 0.05], [0.96, 0.96, 0.94], [0.62, 0.2, 0.2]])


@dataclass(frozen=True)
class _Cloth:
    """A pattern of two colours (3,) with a period in body heights."""

    pattern: str
    main: FloatArray
    second: FloatArray
    period: float

    def at(self, across: FloatArray, along: FloatArray) -> FloatArray:
        """Colours (n, 3) at positions across and along a bone."""
        u, v = across / self.period % 1 < 0.5, along / self.period % 1 < 0.5
        mix = {'stripes': 1.0 * v, 'checks': 0.5 * u + 0.5 * v, 'blocks': 1.0 * (along > 0.14)}
        return self.main + mix.get(self.pattern, 0 * u)[:, None] * (self.second - self.main)


@dataclass(frozen=True)
class Outfit:
    """What a person looks like; colours are (3,), RGB in 0..1."""

    skin: FloatArray
    hair: FloatArray
    hair_style: str  # "short", "long", "bun", "bald", or "hat" in the colour of `hair`
    beard: bool
    top: _Cloth
    sleeves: float  # covered share of the arms, 0..2 (1 is the elbow)
    front: str  # of the chest: "plain", "open", "logo" or "band"
    accent: FloatArray  # colour of that, and of a seat
    bottom: _Cloth
    legs: float  # covered share of the legs, 0..2 (1 is the knee)
    skirt: bool
    shoes: FloatArray


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Draw a person's looks."""

    def pick(colors: FloatArray, unlike: FloatArray | None = None) -> FloatArray:
        choice = colors[rng.integers(len(colors), size=6)]
        best = 0 if unlike is None else int(np.abs(choice - unlike).sum(axis=1).argmax())
        return np.clip(choice[best] * rng.uniform(0.9, 1.06) + rng.normal(0, 0.015, 3), 0.02, 1)

    def choose(**shares: float) -> str:
        return str(rng.choice(list(shares), p=list(shares.values())))

    style = choose(short=0.42, long=0.24, bun=0.12, bald=0.05, hat=0.17)
    skirt, shirt, trousers = rng.random() < 0.1, pick(_BRIGHT), pick(_DULL)
    pattern = choose(plain=0.46, stripes=0.22, checks=0.18, blocks=0.14)
    below = choose(plain=0.85, checks=0.15)
    return Outfit(
        skin=pick(_SKIN),
        hair=pick(_BRIGHT if style == 'hat' else _HAIR),
        hair_style=style,
        beard=style in ('short', 'bald') and rng.random() < 0.2,
        top=_Cloth(pattern, shirt, pick(_BRIGHT, shirt), rng.uniform(0.035, 0.06)),
        sleeves=rng.choice([0.0, 0.62, 1.55, 1.93], p=[0.08, 0.42, 0.08, 0.42]),
        front=choose(plain=0.2, open=0.3, logo=0.3, band=0.2),
        accent=pick(_BRIGHT, shirt),
        bottom=_Cloth(below, trousers, pick(_DULL, trousers), rng.uniform(0.03, 0.05)),
        legs=0.0 if skirt else rng.choice([0.55, 0.92, 1.88], p=[0.1, 0.2, 0.7]),
        skirt=skirt,
        shoes=pick(_SHOES),
    )


def dress(body: Body, outfit: Outfit) -> Mesh:
    """Build a person's mesh, which is not finished yet, from a posed body and its outfit."""
    mesh, frames, build = Mesh(), body.frames, body.build
    _add_trunk(mesh, body, outfit)
    _add_head(mesh, body, outfit)

    def limb(bone: str, length: float, r0: float, r1: float, cloth: _Cloth, share: float) -> None:
        """Add a part of an arm or leg, of which cloth covers a share."""
        length, r0, r1 = length * build.limbs, r0 * build.girth, r1 * build.girth
        # Round ends, which fill the bends of elbows and knees.
        rows = [(y, r, r) for y, r in ((r0, 0), (0.8 * r0, 0.6 * r0), (0, r0), (-length, r1))]
        rows += [(-length - y, r, r) for y, r in ((0.8 * r1, 0.6 * r1), (r1, 0))]
        hem = -share * length if share < 1 else -1.0

        def paint(p: FloatArray) -> FloatArray:
            colors = cloth.at(np.arctan2(p[:, 0], p[:, 2]) * 0.035, p[:, 1])
            colors[(p[:, 1] <= hem) | (share <= 0)] = outfit.skin
            return colors

        rings = tube(rows)
        rings[(rings[:, 1] > hem) & (share > 0), 3:] += 0.0055
        mesh.add(frames[bone], rings, paint, PARTS[bone])

    for side in SIDES:
        limb(f'{side}_upper_arm', 0.168, 0.031, 0.0255, outfit.top, outfit.sleeves)
        limb(f'{side}_forearm', 0.148, 0.0265, 0.0185, outfit.top, outfit.sleeves - 1)
        limb(f'{side}_thigh', 0.235, 0.053, 0.0365, outfit.bottom, outfit.legs)
        limb(f'{side}_shin', 0.222, 0.0365, 0.0235, outfit.bottom, outfit.legs - 1)
        hand, foot = f'{side}_hand', f'{side}_foot'
        palm = blob((0, -0.038, 0.004), (0.014, 0.042, 0.022))
        mesh.add(frames[hand], palm, outfit.skin, PARTS[hand], sides=8)
        shoe = blob((0, -0.021, 0.032), (0.03, 0.03, 0.068))
        shoe[:, 1] = np.maximum(shoe[:, 1], -0.042)  # a flat sole
        mesh.add(frames[foot], shoe, outfit.shoes, PARTS[foot])
    if body.seat:
        seat = tube([(body.seat, 0, 0), (body.seat, 0.16, 0.16), (0, 0.16, 0.16)])
        mesh.add(frames['ground'], seat, outfit.accent, PARTS['prop'], sides=8, lift=-0.03)
    return mesh


def _halves(name: str, points: FloatArray) -> NDArray[np.int64]:
    """Labels (n,) of the left and right half of a part that spans both."""
    return PARTS[f'left_{name}'] + (points[:, 0] < 0)


def _add_trunk(mesh: Mesh, body: Body, outfit: Outfit) -> None:
    wide, thick = body.build.width * (0.6 + 0.4 * body.build.girth), body.build.girth
    scale = (1, 1, 1, wide, thick)

    def shirt(p: FloatArray) -> FloatArray:
        colors = outfit.top.at(p[:, 0], p[:, 1])
        x, y, front = np.abs(p[:, 0]), p[:, 1], p[:, 2] > 0
        marks = {'open': x < 0.028, 'band': np.abs(y - 0.16) < 0.024, 'plain': x < 0}
        marks['logo'] = np.hypot(x, y - 0.165) < 0.042
        colors[front & marks[outfit.front]] = outfit.accent
        colors[front & (x < 0.8 * (y - 0.225))] = outfit.skin
        return colors

    def part(p: FloatArray) -> NDArray[np.int64]:
        return np.where(p[:, 1] < 0.06, _halves('pelvis', p), _halves('torso', p))

    rows = [(0.312, 0.03, 0.03), (0.30, 0.05, 0.042), (0.285, 0.088, 0.052), (0.262, 0.115, 0.06)]
    rows += [(0.23, 0.116, 0.067), (0.17, 0.107, 0.071), (0.07, 0.09, 0.063), (-0.045, 0.1, 0.072)]
    mesh.add(body.frames['chest'], scale * tube(rows), shirt, part, sides=20, lift=0.01)
    rows = [(0.08, 0.075, 0.055), (0.0, 0.096, 0.066), (-0.045, 0.096, 0.068), (-0.085, 0.05, 0.04)]
    if outfit.skirt:
        rows = [(0.08, 0.075, 0.055), (0.0, 0.096, 0.066), (-0.17, 0.14, 0.115)]
    mesh.add(
        body.frames['pelvis'],
        scale * tube(rows),
        lambda p: outfit.bottom.at(p[:, 0], p[:, 1]),
        lambda p: _halves('pelvis', p),
        sides=20,
    )
    neck = tube([(0.08, 0.028, 0.028), (-0.04, 0.031, 0.031)])
    mesh.add(body.frames['neck'], neck, 0.92 * outfit.skin, PARTS['neck'])


def _add_head(mesh: Mesh, body: Body, outfit: Outfit) -> None:
    head, k = body.frames['head'], body.build.head
    # The edge of the hair is a plane that leans back; a low number covers more.
    edge = k * {'bald': 9.0, 'short': 0.016, 'hat': 0.012}.get(outfit.hair_style, -0.004)

    def is_hair(p: FloatArray) -> NDArray[np.bool_]:
        return 0.75 * p[:, 1] - 0.66 * p[:, 2] > edge

    def skin(p: FloatArray) -> FloatArray:
        beard = outfit.beard & (p[:, 1] < -0.026 * k) & (p[:, 2] > -0.02 * k)
        return np.where((is_hair(p) | beard)[:, None], outfit.hair, outfit.skin)

    def part(p: FloatArray) -> NDArray[np.int64]:
        return np.where(is_hair(p), PARTS['hair'], _halves('face', p))

    rows = [(0.082, 0.0, 0.0), (0.078, 0.024, 0.028), (0.062, 0.046, 0.05), (0.03, 0.058, 0.065)]
    rows += [(-0.01, 0.055, 0.064), (-0.045, 0.044, 0.054), (-0.07, 0.02, 0.035), (-0.075, 0, 0)]
    mesh.add(head, k * tube(rows, 0.012), skin, part, sides=16)
    details = [
        ('nose', np.minimum(1.08 * outfit.skin, 1), (0, -0.01, 0.066), (0.009, 0.016, 0.014)),
        ('left_face', _RED, (0, -0.042, 0.054), (0.018, 0.005, 0.006)),
    ]
    for side, s in zip(SIDES, (1, -1), strict=True):
        for color, z, width in ((_WHITE, 0.058, 0.013), (_DARK, 0.062, 0.007)):
            details.append((f'{side}_eye', color, (s * 0.0225, 0.009, z), (width, 0.0085, 0.004)))
        if outfit.hair_style != 'long':
            ear = ((s * 0.058, -0.004, -0.004), (0.009, 0.017, 0.012))
            details.append((f'{side}_ear', 0.9 * outfit.skin, *ear))
    lumps = {
        'long': ((0, -0.03, -0.035), (0.064, 0.1, 0.045)),
        'bun': ((0, 0.06, -0.06), (0.03, 0.03, 0.03)),
        'hat': ((0, 0.034, 0.06), (0.05, 0.006, 0.045)),  # its peak
    }
    if outfit.hair_style in lumps:
        details.append(('hair', 0.92 * outfit.hair, *lumps[outfit.hair_style]))
    for name, color, centre, radii in details:
        lift = 0 if name == 'hair' else 0.012
        mesh.add(head, k * blob(centre, radii), color, PARTS[name], sides=8, lift=lift)
