"""hookcache: a caching and metering layer in front of LambdaHook functions of the GenAI IDP Accelerator."""

__version__ = "0.1.0"
