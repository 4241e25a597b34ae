"""An existing hook, untouched: another Lambda stands in front of it. It "reads" a page by describing its bytes."""

import os

import boto3

s3 = boto3.client("s3")


def lambda_handler(event, _context):
    texts = [_read(block["image"]) for block in event["messages"][0]["content"] if "image" in block]
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": "\n".join(texts)}]}},
        "stopReason": "end_turn",
        "usage": {"pages": len(texts), "inputTokens": 0, "outputTokens": 0, "totalTokens": 0},
    }


def _read(image):
    _, _, bucket, key = image["source"]["s3Location"]["uri"].split("/", 3)
    page = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return f"{os.environ.get('READER', 'A reader')} saw {len(page)} bytes of {image['format']}."
