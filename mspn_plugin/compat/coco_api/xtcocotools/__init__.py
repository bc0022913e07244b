"""What MMPose uses of xtcocotools, on top of pycocotools; loaded under the name ``xtcocotools``.

Nothing in this folder may import `mspn_plugin`: these modules stand in for a third-party package.
"""
