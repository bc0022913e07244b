"""Stock MMPose's MSPN and this package's, measured side by side: `make bench`.

`sides` makes what both sides work on, `rows` checks that both give the same and then times them,
taking turns as `timing` has it; `report` writes it down.
"""

import mspn_plugin  # noqa: F401  # before mmpose: it closes the gaps of the OpenMMLab stack
