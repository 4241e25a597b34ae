"""The least that a cold start can be: Python, one TLS connection, one unsigned call, its reply parsed."""

import http.client
import json
import os
import ssl
from urllib.parse import urlsplit

place = urlsplit(os.environ["AWS_ENDPOINT_URL_DYNAMODB"])
trusted = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
connection = http.client.HTTPSConnection(place.hostname or "", place.port, context=trusted)
headers = {
    "X-Amz-Target": "DynamoDB_20120810.GetItem",
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Date": "20260101T000000Z",
    "Authorization": "AWS4-HMAC-SHA256 Credential=benchbench/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=00",
}
connection.request("POST", "/", '{"TableName":"bench-entries","Key":{"pk":{"B":"AA=="},"kind":{"S":"NONE"}}}', headers)
json.loads(connection.getresponse().read())
with open("/proc/self/status", encoding="ascii") as status:
    kept = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(json.dumps({"rss_mb": kept / 1024}))
