"""Stock MMPose's MSPN and this package's, measured side by side: `make bench`.

`sides` makes what both sides work on, `rows` checks that both give the same and then times them,
taking turns as `timing` has it; `report` writes it down.
"""

import sys
from pathlib import Path

import mspn_plugin  # noqa: F401  # before mmpose: it closes the gaps of the OpenMMLab stack

# The painter of synthetic people is not installed.
sys.path.append(str(Path(__file__).resolve().parent.parent / 'examples'))
