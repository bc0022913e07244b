"""Evaluates a checkpoint: `mim test mspn_plugin CONFIG`, or `mspn test CONFIG CHECKPOINT`."""

from mspn.cli import tool

main = tool('test')

if __name__ == '__main__':
    main()
