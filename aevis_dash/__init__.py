"""AEVis Dash: explains why a convolutional network misclassifies an adversarial example."""

import os

# Torch's worker threads spin while they wait unless told otherwise before torch is first imported. Where several
# processes share the cores (jobs beside the server, other people's work), they then wait for one another, and a
# second's work can take a minute.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
