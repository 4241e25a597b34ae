"""
Read by Python when a function's process starts: the tests' `conftest.py` puts this folder on the import path of all.

The table may take its time. The product gives it a second per operation, and on a machine that stands still for as long
an answer is fetched without the cache: right, and not what these tests are about.
"""

import os

if "HOOKCACHE_TABLE" in os.environ:
    from hookcache import clients, items

    clients.ATTEMPT_SECONDS = 20.0
    items.Items.__init__.__defaults__ = (60.0,)
