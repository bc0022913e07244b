"""Converts foreign weights: `mim run mspn_plugin convert_checkpoint`, or `mspn convert`."""

from mspn.cli import tool

main = tool('convert')

if __name__ == '__main__':
    main()
