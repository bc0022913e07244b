"""``python -m mspn_plugin.doctor`` is `mspn.doctor`, which also runs where this does not import."""

from mspn.cli import tool

if __name__ == '__main__':
    tool('doctor')()
