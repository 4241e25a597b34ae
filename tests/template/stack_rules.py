"""
What must be true of every stack made from template.yaml. A rule returns its findings; none means that it is kept.

Rules look at a `Stack`, so the same rule runs over the real template and over copies that were spoilt on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from paper_stack import PSEUDO, Stack
from stack_rights import as_list, granted, statements

Rule = Callable[[Stack], Iterator[str]]

# The environment of a function: every name that the settings read, and Powertools' own.
ENVIRONMENT = {
    "HOOKCACHE_BACKEND",
    "HOOKCACHE_TABLE",
    "HOOKCACHE_OVERFLOW_BUCKET",
    "HOOKCACHE_NAMESPACE",
    "HOOKCACHE_GENERATION",
    "HOOKCACHE_MODE",
    "HOOKCACHE_SECRET_ARN",
    "HOOKCACHE_SECRET",
    "HOOKCACHE_IMAGE_PREFIXES",
    "HOOKCACHE_FRESH_SECONDS",
    "HOOKCACHE_MEMORY_BYTES",
    "HOOKCACHE_MEMORY_SECONDS",
    "HOOKCACHE_LEASE_SECONDS",
    "HOOKCACHE_WAIT_SECONDS",
    "HOOKCACHE_POLICY",
    "HOOKCACHE_IDENTITY",
    "HOOKCACHE_PRICES",
    "HOOKCACHE_PRICE_AS",
    "HOOKCACHE_CLIENT",
    "HOOKCACHE_ENCRYPT",
    "POWERTOOLS_SERVICE_NAME",
    "POWERTOOLS_METRICS_NAMESPACE",
    "POWERTOOLS_LOG_LEVEL",
}
REQUIRED_ENVIRONMENT = {
    "HOOKCACHE_BACKEND",
    "HOOKCACHE_TABLE",
    "HOOKCACHE_OVERFLOW_BUCKET",
    "HOOKCACHE_SECRET_ARN",
    "HOOKCACHE_IMAGE_PREFIXES",
    "HOOKCACHE_NAMESPACE",
    "HOOKCACHE_GENERATION",
    "HOOKCACHE_MODE",
    "POWERTOOLS_SERVICE_NAME",
    "POWERTOOLS_METRICS_NAMESPACE",
}
# Metrics of a receipt that an alarm may name.
METRICS = {
    *("Requests", "MemoryHits", "TableHits", "Collapsed", "Misses", "Bypasses", "Failures"),
    *("InputTokens", "OutputTokens", "Pages", "SavedInputTokens", "SavedOutputTokens", "SavedPages"),
    *("Cost", "SavedCost", "OwnCost", "Latency", "BackendLatency", "LookupLatency"),
    *("TableErrors", "ImageErrors", "Refusals", "LeaseLost", "CorruptEntries", "Unpriced"),
}
WATCHED = {
    "BackendUnknown",
    "SecretUnavailable",
    "FollowerTimeouts",
    "TableErrors",
    "CorruptEntries",
    "ImageErrors",
    "Failures",
    "LeaseLost",
    "Bypasses",
    "Errors",
    "Throttles",
}
HOST_WAIT_SECONDS = 840
LONGEST_LIFETIME_DAYS = 30

# The tails that a resource may end in and still name one thing: versions and aliases, objects of a folder.
NAMED_TAILS = (":*", "/entries/*", "/temp/lambdahook/*")


def differences(stack: Stack, page: set[Any]) -> Iterator[str]:
    """P39: granted rights and listed rights are the same."""
    rights = granted(stack)
    yield from (f"granted, not listed: {right}" for right in sorted(rights - page))
    yield from (f"listed, not granted: {right}" for right in sorted(page - rights))


def rights_are_named(stack: Stack) -> Iterator[str]:
    """P39: no `*` action, no `*` resource, no allow-all-but."""
    referenced = stack.parameters.get("ReferencedPages", "")
    for role, statement in statements(stack):
        yield from (f"{role}: {member}" for member in ("NotAction", "NotResource") if member in statement)
        yield from (f"{role}: action {action}" for action in as_list(statement.get("Action", [])) if "*" in action)
        for resource in as_list(statement.get("Resource", [])):
            tail = next((tail for tail in NAMED_TAILS if resource.endswith(tail)), "")
            if referenced and resource == f"arn:aws:s3:::{referenced}*":
                continue  # a folder that the operator named; the parameter's pattern ends it in a slash
            if "*" in resource.removesuffix(tail) or resource.removesuffix(tail) == "":
                yield f"{role}: resource {resource}"


def key_is_used_through_services_only(stack: Stack) -> Iterator[str]:
    """P39, 8.2: every KMS right is bound to the services that use the key for us."""
    for right in granted(stack):
        if right.action.startswith("kms:") and not right.condition.startswith("kms:ViaService: "):
            yield f"{right.action} without kms:ViaService"


def every_role_has_the_boundary(stack: Stack) -> Iterator[str]:
    """P39: where an organisation asks for a permissions boundary, each role of the stack has it; else none has one."""
    boundary = stack.parameters.get("PermissionsBoundaryArn", "")
    for name, role in stack.of_type("AWS::IAM::Role"):
        if boundary != role.get("PermissionsBoundary", ""):
            yield f"{name}: its boundary is '{role.get('PermissionsBoundary', '')}'"


def services_are_those_of_the_partition(stack: Stack) -> Iterator[str]:
    """P39: a key is used through services by the names that they have there: those in China end in another word."""
    abroad = Stack(stack.template, stack.parameters, pseudo=PSEUDO | {"AWS::URLSuffix": "SUFFIX"})
    for right in granted(abroad):
        services = right.condition.removeprefix("kms:ViaService: ")
        if services != right.condition:
            yield from (
                f"{right.action} through {each}" for each in services.split(", ") if not each.endswith(".SUFFIX")
            )


def wrapper_never_calls_itself(stack: Stack) -> Iterator[str]:
    """T9, F40: an explicit Deny on the wrapper's own name, unqualified and with every qualifier."""
    denied = {(right.action, right.resource) for right in granted(stack) if right.effect == "Deny"}
    for _, function in stack.of_type("AWS::Lambda::Function"):
        if not function["FunctionName"].startswith("GENAIIDP-"):
            continue  # the host cannot call it, and no wrapper stands in front of it
        own = f"arn:aws:lambda:REGION:ACCOUNT:function:{function['FunctionName']}"
        yield from (
            f"{own}{tail} may be invoked" for tail in ("", ":*") if ("lambda:InvokeFunction", own + tail) not in denied
        )


def nothing_is_public(stack: Stack) -> Iterator[str]:
    """8.2: no function URL, no resource policy that lets anybody in."""
    yield from (f"{logical_id}: function URL" for logical_id, _ in stack.of_type("AWS::Lambda::Url"))
    yield from (f"{logical_id}: resource policy" for logical_id, _ in stack.of_type("AWS::Lambda::Permission"))
    for logical_id, policy in stack.of_type("AWS::S3::BucketPolicy"):
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Allow":
                yield f"{logical_id}: allows {statement['Principal']}"


def logs_have_an_end(stack: Stack) -> Iterator[str]:
    """8.2: each function logs into a group of the stack, and each group has a retention."""
    groups = dict(stack.of_type("AWS::Logs::LogGroup"))
    yield from (f"{name}: kept for ever" for name, group in groups.items() if not group.get("RetentionInDays"))
    for name, function in stack.of_type("AWS::Lambda::Function"):
        if function.get("LoggingConfig", {}).get("LogGroup") not in groups:
            yield f"{name}: logs into a group that Lambda makes, without retention"


def table_fits_its_items(stack: Stack) -> Iterator[str]:
    """3.1, T12: keys, TTL attribute, on demand, protected, no restore that brings erased answers back."""
    expected = {
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "B"},
            {"AttributeName": "kind", "AttributeType": "S"},
        ],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "kind", "KeyType": "RANGE"}],
        "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": True},
        "BillingMode": "PAY_PER_REQUEST",
        "DeletionProtectionEnabled": True,
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": False},
    }
    for name, table in stack.of_type("AWS::DynamoDB::Table"):
        yield from (
            f"{name}: {member} is {table.get(member)}"
            for member, value in expected.items()
            if value != table.get(member)
        )


def bucket_is_private_and_forgets(stack: Stack) -> Iterator[str]:
    """8.2: private, unversioned, TLS only, emptied a week after the longest lifetime."""
    closed = {"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"}
    for name, bucket in stack.of_type("AWS::S3::Bucket"):
        access = bucket.get("PublicAccessBlockConfiguration", {})
        yield from (f"{name}: {member} is off" for member in sorted(closed) if access.get(member) is not True)
        if "VersioningConfiguration" in bucket:
            yield f"{name}: versioned, so deleted answers stay"
        rules = bucket.get("LifecycleConfiguration", {}).get("Rules", [])
        days = [
            rule["ExpirationInDays"] for rule in rules if rule["Status"] == "Enabled" and "ExpirationInDays" in rule
        ]
        if days != [LONGEST_LIFETIME_DAYS + 7]:
            yield f"{name}: objects go after {days} days"
        if not any(_only_over_tls(policy, name) for _, policy in stack.of_type("AWS::S3::BucketPolicy")):
            yield f"{name}: answers without TLS"


def _only_over_tls(policy: dict[str, Any], bucket: str) -> bool:
    wanted = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    found = [{k: v for k, v in statement.items() if k != "Sid"} for statement in policy["PolicyDocument"]["Statement"]]
    return policy["Bucket"] == bucket and wanted in found


def secret_is_generated(stack: Stack) -> Iterator[str]:
    """P37: the HMAC secret is made by the service and is nowhere in the template."""
    for name, secret in stack.of_type("AWS::SecretsManager::Secret"):
        if "SecretString" in secret:
            yield f"{name}: written in the template"
        if secret.get("GenerateSecretString", {}).get("PasswordLength", 0) < 64:
            yield f"{name}: shorter than 64 characters"


def data_outlives_the_stack(stack: Stack) -> Iterator[str]:
    """A stack that goes, or replaces a resource, takes no answers and no secret with it."""
    for kind in ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret"):
        for name, _ in stack.of_type(kind):
            resource = stack.resources[name]
            for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
                if resource.get(policy) != "Retain":
                    yield f"{name}: {policy} is {resource.get(policy)}"


def customer_key_encrypts_everything(stack: Stack) -> Iterator[str]:
    """P38: with a key, table, bucket, secret and topic are under it; without one, none names a key."""
    key = stack.parameters.get("CustomerManagedEncryptionKeyArn", "")
    used = {
        name: table.get("SSESpecification", {}).get("KMSMasterKeyId", "")
        for name, table in stack.of_type("AWS::DynamoDB::Table")
    }
    for name, bucket in stack.of_type("AWS::S3::Bucket"):
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        used[name] = rule["ServerSideEncryptionByDefault"].get("KMSMasterKeyID", "")
    used |= {name: secret.get("KmsKeyId", "") for name, secret in stack.of_type("AWS::SecretsManager::Secret")}
    used |= {name: topic.get("KmsMasterKeyId", "") for name, topic in stack.of_type("AWS::SNS::Topic")}
    yield from (f"{name}: encrypted with '{found}'" for name, found in used.items() if found != key)


def function_suits_the_host(stack: Stack) -> Iterator[str]:
    """P52, contract 2: the host may invoke the wrapper and nothing else; it ends before the host stops waiting."""
    limit = stack.template["Parameters"]["TimeoutSeconds"].get("MaxValue", 900)
    if limit >= HOST_WAIT_SECONDS:
        yield f"TimeoutSeconds may be {limit}"
    for name, function in stack.of_type("AWS::Lambda::Function"):
        if function["FunctionName"].startswith("GENAIIDP-cache-") != (name == "HookFunction"):
            yield f"{name}: named {function['FunctionName']}"
        if int(function["Timeout"]) >= HOST_WAIT_SECONDS:
            yield f"{name}: timeout {function['Timeout']} s"
        if (function["Runtime"], function["Architectures"]) != ("python3.13", ["arm64"]):
            yield f"{name}: runs on {function['Runtime']} {function['Architectures']}"


def environment_is_known(stack: Stack) -> Iterator[str]:
    """P52: each variable is one that the settings read, and none that they need is missing."""
    for name, function in stack.of_type("AWS::Lambda::Function"):
        given = set(function["Environment"]["Variables"])
        yield from (f"{name}: unknown variable {variable}" for variable in sorted(given - ENVIRONMENT))
        yield from (f"{name}: {variable} is missing" for variable in sorted(REQUIRED_ENVIRONMENT - given))


def alarms_watch_this_wrapper(stack: Stack) -> Iterator[str]:
    """8.2, contract 7: 300 s, silence is good, only metrics that exist, of this wrapper and no other."""
    watched, counted = set(), {name for name, _ in counted_from_the_log(stack)}
    services = {
        function["Environment"]["Variables"].get("POWERTOOLS_SERVICE_NAME")
        for _, function in stack.of_type("AWS::Lambda::Function")
    }
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm"):
        if alarm.get("TreatMissingData") != "notBreaching":
            yield f"{name}: TreatMissingData is {alarm.get('TreatMissingData')}"
        for metric in _metrics(alarm):
            watched.add(metric["MetricName"])
            if metric["Period"] != 300:
                yield f"{name}: period {metric['Period']} s"
            if metric["Namespace"] == "GenAIIDP/HookCache":
                if metric["MetricName"] not in METRICS | counted:
                    yield f"{name}: no receipt has {metric['MetricName']}"
                if metric["Dimensions"] not in [[{"Name": "Service", "Value": service}] for service in services]:
                    yield f"{name}: watches {metric['Dimensions']}"
    yield from (f"nobody watches {metric}" for metric in sorted(WATCHED - watched))


def counted_from_the_log(stack: Stack) -> Iterator[tuple[str, str]]:
    """Metric and pattern of each filter over a log group of the stack that counts receipts by their service."""
    groups = dict(stack.of_type("AWS::Logs::LogGroup"))
    for _, counter in stack.of_type("AWS::Logs::MetricFilter"):
        (metric,) = counter["MetricTransformations"]
        if counter["LogGroupName"] in groups and metric == {
            "MetricNamespace": "GenAIIDP/HookCache",
            "MetricName": metric["MetricName"],
            "MetricValue": "1",
            "Unit": "Count",
            "Dimensions": [{"Key": "Service", "Value": "$.Service"}],
        }:
            yield metric["MetricName"], counter["FilterPattern"]


def _metrics(alarm: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "MetricName" in alarm:
        yield alarm
    for query in alarm.get("Metrics", []):
        if "MetricStat" in query:
            yield {**query["MetricStat"]["Metric"], "Period": query["MetricStat"]["Period"]}


def alarms_reach_the_operator(stack: Stack) -> Iterator[str]:
    """Each alarm goes to the topic that was given, else to the stack's own, else nowhere."""
    given = stack.parameters.get("AlertsTopicArn", "")
    own = [name for name, _ in stack.of_type("AWS::SNS::Topic")]
    expected = [given] if given else own
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm"):
        if alarm["AlarmActions"] != expected:
            yield f"{name}: tells {alarm['AlarmActions']}"


def parameters_are_bounded(stack: Stack) -> Iterator[str]:
    """Each parameter says what it is, and CloudFormation refuses what cannot work before it creates anything."""
    for name, parameter in stack.template["Parameters"].items():
        if not parameter.get("Description"):
            yield f"{name}: no description"
        bounds = {"MinValue", "MaxValue"} if parameter["Type"] == "Number" else {"AllowedPattern"}
        if not (bounds <= set(parameter) or "AllowedValues" in parameter or "MaxLength" in parameter):
            yield f"{name}: unbounded"


RULES: tuple[Rule, ...] = (
    rights_are_named,
    key_is_used_through_services_only,
    services_are_those_of_the_partition,
    every_role_has_the_boundary,
    wrapper_never_calls_itself,
    nothing_is_public,
    logs_have_an_end,
    table_fits_its_items,
    bucket_is_private_and_forgets,
    secret_is_generated,
    data_outlives_the_stack,
    customer_key_encrypts_everything,
    function_suits_the_host,
    environment_is_known,
    alarms_watch_this_wrapper,
    alarms_reach_the_operator,
    parameters_are_bounded,
)
