"""Checks a data set: `mim run mspn_plugin check_dataset`, or `mspn check`."""

from mspn.cli import tool

main = tool('check')

if __name__ == '__main__':
    main()
