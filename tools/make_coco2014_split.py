"""Divides COCO 2014 as the original MSPN does: `mim run mspn_plugin make_coco2014_split`."""

from mspn.cli import tool

main = tool('make_coco2014_split')

if __name__ == '__main__':
    main()
