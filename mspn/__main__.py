"""``python -m mspn``: the command `mspn`."""

from .cli import main

if __name__ == '__main__':
    main()
