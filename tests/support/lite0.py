"""EfficientNet-Lite0 as the published file of ImageNet weights names its parts."""

import torch


def published_names(model):
    """The weights of a model under the names that the published file has, with a classifier."""
    names, block = {}, -1
    for name, value in model.state_dict().items():
        part, *rest = name.split('.')
        if part == 'stem':
            new = '_conv_stem' if rest[0] == 'conv' else '_bn0'
        else:
            _, index, kind, inner = rest[:4]
            first = 'depthwise' if names and block < 0 else 'expand'
            if (kind, inner) == (first, 'conv') and rest[-1] == 'weight':
                block += 1
            norm = dict(expand='_bn0', depthwise='_bn1', project='_bn2')[kind]
            new = f'_blocks.{block}.' + (f'_{kind}_conv' if inner == 'conv' else norm)
        names[f'{new}.{rest[-1]}'] = value
    return names | {'_conv_head.weight': torch.zeros(1280, 320, 1, 1), '_fc.bias': torch.zeros(9)}
