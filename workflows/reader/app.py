"""
A LambdaHook backend for trying out workflows: answers prompts about a page's text by rules, no model needed.

Event: the host's request. The prompt's first line says what is wanted: `Classify`, `Extract` or `Summarise`; the rest is
the text. Answer: the Converse shape with usage. The same prompt gives the same answer.

Environment:
    READER_SECONDS  waits before each answer, as a model takes its time (default 0)
    READER_DOWN     any text: every call fails with `ReaderUnavailable`, for trials of retry and catch
"""

import json
import os
import re
import time

CLASSES = {
    "bank statement": ("balance", "statement", "account", "deposit"),
    "invoice": ("invoice", "due", "vat", "quantity", "unit price"),
    "letter": ("dear", "sincerely", "regards", "yours"),
}
AMOUNT = re.compile(r"(?<![\w.,])[$€£]?\s?\d{1,3}(?:[ ,]?\d{3})*\.\d{2}(?![\d.])")
DATE = re.compile(r"\b(?:\d{4}-\d{2}-\d{2}|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}|\d{1,2} [A-Z][a-z]+ \d{4})\b")
LONGEST_SUMMARY = 300
CHARACTERS_PER_TOKEN = 4


class ReaderUnavailable(Exception):
    """The reader is told to be down; READER_DOWN is set."""


class UnknownTask(Exception):
    """The prompt's first line names no task."""


def classify(text: str) -> str:
    """The class whose words occur most; `{"class": ...}` as the host reads it."""
    lower = text.lower()
    hits = {name: sum(lower.count(word) for word in words) for name, words in CLASSES.items()}
    best = max(hits, key=lambda name: hits[name])
    return json.dumps({"class": best if hits[best] else "other"})


def extract(text: str) -> str:
    """Every amount and date, in reading order, each once."""
    found = {"amounts": AMOUNT.findall(text), "dates": DATE.findall(text)}
    return json.dumps({name: list(dict.fromkeys(values)) for name, values in found.items()})


def summarise(text: str) -> str:
    """The first lines that hold words, up to a length."""
    lines = [" ".join(line.split()) for line in text.splitlines() if re.search(r"[A-Za-z]{3}", line)]
    return " / ".join(lines)[:LONGEST_SUMMARY] or "Nothing to read."


TASKS = {"Classify": classify, "Extract": extract, "Summarise": summarise}


def lambda_handler(event: dict, _context: object) -> dict:
    """
    Raises:
        ReaderUnavailable: READER_DOWN is set.
        UnknownTask: the prompt's first line names no task.
    """
    if os.environ.get("READER_DOWN"):
        raise ReaderUnavailable("the reader is down: unset READER_DOWN")
    prompt = "".join(block.get("text", "") for message in event["messages"] for block in message["content"])
    task, _, text = prompt.partition("\n")
    if task.strip() not in TASKS:
        raise UnknownTask(f"the prompt's first line must be one of {', '.join(TASKS)}")
    time.sleep(float(os.environ.get("READER_SECONDS", "0")))
    answer = TASKS[task.strip()](text)
    usage = {
        "inputTokens": len(prompt) // CHARACTERS_PER_TOKEN + 1,
        "outputTokens": len(answer) // CHARACTERS_PER_TOKEN + 1,
    }
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": answer}]}},
        "stopReason": "end_turn",
        "usage": {**usage, "totalTokens": sum(usage.values())},
    }
