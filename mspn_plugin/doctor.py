"""``python -m mspn_plugin.doctor`` is `mspn.doctor`, which also runs where this does not import."""

from mspn.doctor import main

if __name__ == '__main__':
    raise SystemExit(main())
