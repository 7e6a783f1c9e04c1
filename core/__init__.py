"""The product without a screen."""

import os

# While they wait for each other, torch's threads spin by default. Beside one other busy process on a small machine
# that made training 30 times slower, since a spinning thread holds the core that the awaited one needs. Has to be set
# before torch is loaded, in every process that may load it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
