"""Answers each request with the answer that stands beside it in this folder: a stand-in for the host's sample hooks."""

import json
import os
from pathlib import Path


def lambda_handler(_event, _context):
    return json.loads((Path(__file__).parent / f"{os.environ['SAMPLE']}.answer.json").read_text())
