"""Real files with a few bytes changed, and JSON with values that nobody expects."""

import functools
import json
import operator

from hypothesis import strategies as st

EDGE_NUMBERS = st.sampled_from(
    [0, -0.0, -1, 1, 2, 3, 0.5, 1e-9, 1e9, 1e38, 1e39, 1e308, -1e308, 2**31, 2**63, -(2**63) - 1]
    + [10**400, float('nan'), float('inf'), float('-inf'), True, False]
)
EDGE_TEXTS = st.sampled_from(
    ['', '../../x', '/etc/passwd', '..\\x', 'a\0b', '\ud800', '\n', '\x1b[2J', 'C:\\x', '.', '..']
    + ['$(touch canary)', '; touch canary', '%s%n', "'", 'é' * 300, '-rf', '~/x', 'file:///x']
)
SCALARS = st.one_of(st.none(), EDGE_NUMBERS, EDGE_TEXTS, st.text(max_size=8), st.integers())
KEYS = EDGE_TEXTS | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=6) | st.dictionaries(KEYS, one), max_leaves=12
)


@st.composite
def mutated_bytes(draw, content: bytes):
    """A file that was cut, overwritten, extended or repeated at a few places."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        if draw(st.booleans()):  # the start of a file is where its structure is
            at = at % 600
        how = draw(st.sampled_from(['set', 'flip', 'cut', 'remove', 'insert', 'repeat', 'number']))
        sizes = st.sampled_from([1, 2, 4, 8]) | st.integers(1, 64)
        end = None if how == 'cut' else at + draw(sizes)
        old = data[at:end]
        if how == 'set':
            data[at:end] = draw(st.binary(min_size=1, max_size=1)) * len(old)
        elif how == 'flip' and old:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how in ('cut', 'remove'):
            del data[at:end]
        elif how == 'insert':
            data[at:at] = draw(st.binary(max_size=64))
        elif how == 'repeat':
            data[at:at] = old * draw(st.integers(1, 8))
        elif how == 'number':
            number = draw(st.sampled_from([0, 1, 2**7, 2**15, 2**31, 2**63, 2**64 - 1]))
            order = draw(st.sampled_from(['big', 'little']))
            data[at:end] = (number % 256 ** len(old)).to_bytes(len(old), order)
    return bytes(data)


def places(node, path=()):
    """Every place in a tree of JSON, by its path."""
    yield path
    if isinstance(node, dict | list):
        for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
            yield from places(value, (*path, key))


@st.composite
def mutated_json(draw, text: str):
    """JSON with values replaced, removed, doubled or nested, as bytes; sometimes it is broken."""
    tree = json.loads(text)
    for _ in range(draw(st.integers(0, 4))):
        paths = list(places(tree))
        path = draw(st.sampled_from(paths))
        how = draw(st.sampled_from(['replace', 'number', 'remove', 'double', 'nest', 'key', 'key']))
        if not path:
            if how == 'replace':
                tree = draw(VALUES)
            continue
        parent, key = functools.reduce(operator.getitem, path[:-1], tree), path[-1]
        if how == 'replace':
            parent[key] = draw(VALUES)
        elif how == 'number':
            parent[key] = draw(EDGE_NUMBERS)
        elif how == 'remove':
            del parent[key]
        elif how == 'double' and isinstance(parent, list):
            parent.insert(key, parent[key])
        elif how == 'nest':
            for _ in range(draw(st.sampled_from([1, 5, 40, 300]))):
                parent[key] = [parent[key]]
        elif isinstance(parent, dict):
            parent[draw(EDGE_TEXTS)] = draw(SCALARS)
    data = json.dumps(tree).encode()
    if draw(st.integers(0, 5)) == 0:
        data = draw(mutated_bytes(data))
    return draw(st.sampled_from([b''] * 12 + [b'\xef\xbb\xbf', b'\xff\xfe'])) + data


ODD = [b'[' * 100_000, b'{"a":' * 50_000, b'[' * 900 + b']' * 900, b'9' * 5000, b'']


def json_files(content):
    """Files like the given one, with other values, with a few bytes changed, and of anything."""
    text = json.dumps(content)
    values = (VALUES | st.lists(VALUES, max_size=4)).map(lambda value: json.dumps(value).encode())
    odd = st.binary(max_size=200), st.sampled_from(ODD)
    return st.one_of(mutated_json(text), mutated_bytes(text.encode()), values, *odd)
