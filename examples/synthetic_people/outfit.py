"""What the demo's people look like: skin, hair, clothes and shoes. Colours are RGB in 0..1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]


def _rgb(code: str) -> Color:
    return (int(code[0:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:6], 16) / 255)


def _palette(codes: str) -> tuple[Color, ...]:
    return tuple(_rgb(code) for code in codes.split())


SKIN = _palette('f6d7c3 f0c4a4 e5b08a d49a72 b97d56 96603f 74472e 55331f')
HAIR = _palette('17130f 2a1b12 46301f 6b4526 8f6435 c39a5b dcc38c a34a22 8d8d90 d9d6d0')
TOPS = _palette(
    'd1495b edae49 00798c 30638e 003d5b f4f1de e07a5f 3d405b 81b29a f2cc8f 6a4c93 1982c4 8ac926 '
    'ff595e ffca3a 222831 eeeeee 7d8597 b5838d 588157 9d0208 ffffff 355070 ef476f 118ab2 06d6a0 '
    '8d6a9f bc6c25'
)
TROUSERS = _palette(
    '22303f 3d5a80 1b263b 4a4e69 6b705c a98467 d6ccc2 2b2d42 5c677d 333533 7f5539 9a8c98 415a77 '
    '8f2d3b'
)
SHOES = _palette('f5f5f5 1c1c1c e63946 457b9d 6f4518 ffb703 2a9d8f d9d9d9 3a3a3a')

PATTERNS = ('solid', 'stripes', 'pinstripes', 'checks', 'dots', 'speckle', 'blocks')


@dataclass(frozen=True)
class Fabric:
    """A cloth: a pattern of two colours.

    Attributes:
        pattern: One of `PATTERNS`.
        main: First colour.
        second: Second colour.
        period: Size of the pattern in body heights.
    """

    pattern: str
    main: Color
    second: Color
    period: float = 0.03


@dataclass(frozen=True)
class Outfit:
    """Everything that one person wears.

    Attributes:
        skin: Colour of the skin.
        hair: Colour of the hair.
        hair_style: "short", "bob", "long", "ponytail", "bun" or "bald".
        beard: Whether there is a beard.
        glasses: Whether glasses are worn.
        hat: "none", "cap" or "beanie".
        hat_color: Its colour.
        top: Cloth of the shirt or jacket.
        sleeves: Share of the arm that is covered, 0..2 (1 is the elbow).
        front: What the chest shows: "plain", "jacket", "buttons", "zip", "logo", "pocket", "tie" or
            "band".
        accent: Colour of that detail.
        tucked: Whether the top is tucked into the trousers.
        bottom: Cloth of trousers, shorts or skirt.
        legs: Share of the leg that is covered, 0..2 (1 is the knee).
        skirt: Whether the lower part is a skirt.
        belt: Colour of a belt, or None.
        shoes: Colour of the shoes.
        sole: Colour of the soles.
        backpack: Colour of a backpack, or None.
    """

    skin: Color
    hair: Color
    hair_style: str
    beard: bool
    glasses: bool
    hat: str
    hat_color: Color
    top: Fabric
    sleeves: float
    front: str
    accent: Color
    tucked: bool
    bottom: Fabric
    legs: float
    skirt: bool
    belt: Color | None
    shoes: Color
    sole: Color
    backpack: Color | None


def _pick(rng: np.random.Generator, palette: tuple[Color, ...]) -> Color:
    color = np.array(palette[int(rng.integers(len(palette)))]) * rng.uniform(
        0.9, 1.06
    ) + rng.normal(0, 0.015, 3)
    r, g, b = np.clip(color, 0.02, 1.0)
    return (float(r), float(g), float(b))


def _contrasting(
    rng: np.random.Generator, palette: tuple[Color, ...], other: Color, *, choices: int = 6
) -> Color:
    colors = [_pick(rng, palette) for _ in range(choices)]
    return max(colors, key=lambda c: float(np.abs(np.subtract(c, other)).sum()))


def _top(rng: np.random.Generator, skin: Color) -> Fabric:
    pattern = PATTERNS[int(rng.choice(len(PATTERNS), p=[0.40, 0.16, 0.07, 0.13, 0.08, 0.06, 0.10]))]
    main = _contrasting(rng, TOPS, skin, choices=2)
    return Fabric(pattern, main, _contrasting(rng, TOPS, main), rng.uniform(0.024, 0.05))


def _bottom(rng: np.random.Generator) -> Fabric:
    pattern = ('solid', 'speckle', 'side stripe', 'checks', 'pinstripes')[
        int(rng.choice(5, p=[0.58, 0.14, 0.14, 0.07, 0.07]))
    ]
    main = _pick(rng, TROUSERS)
    second = _contrasting(rng, TOPS, main) if pattern == 'side stripe' else _pick(rng, TROUSERS)
    return Fabric(pattern, main, second, rng.uniform(0.02, 0.04))


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Draw a person's looks."""
    skin = _pick(rng, SKIN)
    top, bottom = _top(rng, skin), _bottom(rng)
    styles = ('short', 'bob', 'long', 'ponytail', 'bun', 'bald')
    style = styles[int(rng.choice(6, p=[0.46, 0.12, 0.16, 0.11, 0.09, 0.06]))]
    fronts = ('plain', 'jacket', 'buttons', 'zip', 'logo', 'pocket', 'tie', 'band')
    skirt = bool(rng.random() < 0.10) and style != 'bald'
    return Outfit(
        skin=skin,
        hair=_pick(rng, HAIR),
        hair_style=style,
        beard=bool(rng.random() < 0.25) and style in ('short', 'bald'),
        glasses=bool(rng.random() < 0.15),
        hat=str(rng.choice(['none', 'cap', 'beanie'], p=[0.78, 0.14, 0.08])),
        hat_color=_pick(rng, TOPS),
        top=top,
        sleeves=float(rng.choice([0.0, 0.62, 0.95, 1.55, 1.93], p=[0.08, 0.38, 0.06, 0.06, 0.42])),
        front=fronts[int(rng.choice(8, p=[0.12, 0.20, 0.12, 0.12, 0.20, 0.08, 0.06, 0.10]))],
        accent=_contrasting(rng, TOPS, top.main),
        tucked=bool(rng.random() < 0.5),
        bottom=bottom,
        legs=0.8 if skirt else float(rng.choice([0.55, 0.92, 1.88], p=[0.10, 0.20, 0.70])),
        skirt=skirt,
        belt=_pick(rng, SHOES) if rng.random() < 0.3 and not skirt else None,
        shoes=_pick(rng, SHOES),
        sole=_rgb('f2efe9') if rng.random() < 0.6 else _rgb('2b2b2b'),
        backpack=_pick(rng, TOPS) if rng.random() < 0.10 else None,
    )
