"""
Print templates as JSON, one to a line, in the form that CloudFormation gets: after the SAM transform.

Run by the interpreter of .venv-sam, because the translator pins other versions of pydantic and boto3 than we ship.
Nothing is uploaded and no account is asked: the code's address is a stand-in, the region comes from the environment.
"""

import json
import sys
from pathlib import Path

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

URIS = {"Function": "CodeUri", "LayerVersion": "ContentUri", "StateMachine": "DefinitionUri"}

for path in sys.argv[1:]:
    template = yaml_parse(Path(path).read_text(encoding="utf-8"))
    for resource in template["Resources"].values():
        if resource["Type"].startswith("AWS::Serverless::"):
            uri = URIS[resource["Type"].rpartition("::")[2]]
            resource["Properties"][uri] = "s3://artifacts/code.zip"
            resource.pop("Metadata", None)
    print(json.dumps(Translator({}, Parser()).translate(template, {})))
