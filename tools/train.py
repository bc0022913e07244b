"""Trains a model with MMEngine's runner: `mim train mspn_plugin CONFIG`, or `mspn train CONFIG`."""

from mspn.cli import tool

main = tool('train', '--log', '--no-report')  # as other trainings that mim starts

if __name__ == '__main__':
    main()
