"""The operator side of hookcache: the `hookcache` command and a local AWS. Never imported by the runtime."""
