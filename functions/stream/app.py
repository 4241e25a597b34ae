"""
`GENAIIDP-stream-<name>`: a model behind the cache whose answers arrive word by word. Started by `stream_runtime`.

Environment, besides the settings of every hookcache function (without HOOKCACHE_BACKEND):
    AWS_LAMBDA_EXEC_WRAPPER   /var/task/stream_wrapper: starts the runtime that can stream
    TARGET_MODEL_ID           id or ARN of a model or an inference profile
    GUARDRAIL_ID, GUARDRAIL_VERSION   both or neither
    CACHE_POINTS              on (default): a prompt-cache point where the text says <<CACHEPOINT>>; off: for models without
    SAMPLING                  auto (default), temperature, both, none: see `sampling`
    MODEL_FIELDS              JSON object laid over additionalModelRequestFields
    ERROR_DETAIL              full: also say what Bedrock says about an error, which may quote the request (default type)
"""

import os

from stream_function import function

lambda_handler = function(os.environ)
