"""
Judge named templates on standard input by the rules of a Guard file; print name -> rule -> PASS, FAIL or SKIP as JSON.

Run by the interpreter of .venv-sam, where the judge is installed.
"""

import json
import re
import sys
from pathlib import Path

from cfn_guard_rs import run_checks

rules = Path(sys.argv[1]).read_text(encoding="utf-8")
names = re.findall(r"^rule (\w+)", rules, re.MULTILINE)
judged = {}
for name, template in json.load(sys.stdin).items():
    report = run_checks(template, rules)
    # The report names rules that failed in several shapes; one that neither passed nor was skipped did fail.
    outcomes = (
        dict.fromkeys(names, "FAIL")
        | dict.fromkeys(report.compliant, "PASS")
        | dict.fromkeys(report.not_applicable, "SKIP")
    )
    judged[name] = outcomes
json.dump(judged, sys.stdout)
