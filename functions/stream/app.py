"""`GENAIIDP-stream-<name>`: a model behind the cache whose answers arrive word by word. Started by `stream_runtime`."""

import os

from stream_function import function

lambda_handler = function(os.environ)
