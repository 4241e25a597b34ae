"""The wrapper `GENAIIDP-cache-<name>`: whole objects are built once, when the environment starts, and called per event."""

import os

from hookcache.assembly import wrapper

lambda_handler = wrapper(os.environ)
