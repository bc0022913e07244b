"""What MMPose uses of xtcocotools, on pycocotools; it stands in, so it imports nothing of ours."""
