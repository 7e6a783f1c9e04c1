"""The product without a screen."""

import logging
import os

# While they wait for each other, torch's threads spin, by default for milliseconds. Beside one other busy process on a
# small machine that stops training almost entirely, since a spinning thread holds the core that the awaited one needs.
# A short spin and then sleep costs nothing on an idle machine (`python -m bench.busy`). It has to be set before torch
# is loaded, in every process that may load it.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# Says on every CPU, as it is imported, that a faster kernel could be fetched from a hub: nothing a user can act on.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
