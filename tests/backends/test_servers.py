"""The servers behind the ready-made backends: what they share, and what two of them refuse as the services do."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

import pytest

from hookcache_ops.backends import named
from hookcache_ops.backends.converse_server import ConverseServer
from hookcache_ops.backends.serving import MISFORTUNES, Reply, Request, WireServer
from hookcache_ops.backends.triton_wire import read_request, write_reply
from hookcache_ops.demo_stage import StageMissingError, check_stage


class Echo(WireServer):
    """Answers with what it was asked."""

    slow_seconds = 0.05

    def answer(self, request: Request) -> Reply:
        return Reply.of_json({"parts": request.parts, "query": request.query, "body": request.body.decode()})

    def misfortune(self, how: str, request: Request) -> Reply:
        return Reply.of_json({"how": how}, 418)

    def counts(self, request: Request) -> bool:
        return request.method == "POST"


def ask(server: WireServer, path: str = "/", body: bytes | None = b"x") -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(server.url + path, data=body, timeout=10) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class TestServing:
    def test_a_request_is_taken_apart_before_it_is_decoded(self):
        """A model's ARN is one part of the path, with its slash."""
        with Echo() as server:
            _, told = ask(server, "/model/arn%3Aaws%2Fx/converse?a=1&a=2", b"body")
        assert json.loads(told) == {"parts": ["model", "arn:aws/x", "converse"], "query": {"a": "2"}, "body": "body"}

    def test_orders_are_followed_one_by_one_and_the_last_stays_where_asked_for(self):
        with Echo() as server:
            server.misbehave("throttle", Reply(201, b"as it is"))
            assert [ask(server)[0] for _ in range(3)] == [418, 201, 200]
            server.misbehave("empty", always=True)
            assert [ask(server)[0] for _ in range(2)] == [418, 418]
            server.behave()
            assert ask(server)[0] == 200

    def test_what_asks_for_no_answer_is_not_counted_and_uses_no_order(self):
        """A look at a job's state is no call."""
        with Echo() as server:
            server.misbehave("throttle")
            assert ask(server, body=None)[0] == 200
            assert (server.calls, len(server.requests)) == (0, 1)
            assert (ask(server)[0], server.calls) == (418, 1)

    def test_a_cut_body_is_shorter_than_announced(self):
        with Echo() as server:
            server.misbehave("cut")
            with pytest.raises(http.client.IncompleteRead):
                ask(server)

    @pytest.mark.parametrize("cut", [False, True])
    def test_pieces_go_out_chunk_by_chunk(self, cut):
        with Echo() as server:
            server.misbehave(Reply(200, iter([b"one", b"", b"two"]), cut=cut))
            if cut:
                with pytest.raises(http.client.IncompleteRead):
                    ask(server)
            else:
                assert ask(server) == (200, b"onetwo")

    def test_every_misfortune_can_be_ordered(self):
        """Those that no server needs to know are done in the base."""
        with Echo() as server:
            for how in set(MISFORTUNES) - {"cut"}:
                server.misbehave(how)
                assert ask(server)[0] == (200 if how in {"slow", "malformed"} else 418)


class TestConverse:
    @pytest.mark.parametrize(
        "body",
        [
            {"messages": [{"role": "assistant", "content": []}]},
            {"messages": [{"role": "user", "content": [{"text": " "}]}]},
            {"messages": [{"role": "user", "content": [{"text": "a"}, *[{"cachePoint": {}}] * 5]}]},
            {"messages": [{"role": "user", "content": [{"image": {"source": {"bytes": "no base64!"}}}]}]},
        ],
        ids=["role", "blank", "cache points", "image"],
    )
    def test_it_refuses_what_bedrock_refuses(self, body: Any):
        with ConverseServer() as server:
            status, told = ask(server, "/model/m/converse", json.dumps(body).encode())
        assert status == 400
        assert json.loads(told)["message"]

    def test_a_request_for_fewer_tokens_is_answered_with_a_cut_text(self):
        body = {
            "messages": [{"role": "user", "content": [{"text": "one two three four five six"}]}],
            "inferenceConfig": {"maxTokens": 2},
        }
        with ConverseServer() as server:
            told = json.loads(ask(server, "/model/m/converse", json.dumps(body).encode())[1])
        assert (told["stopReason"], told["output"]["message"]["content"]) == ("max_tokens", [{"text": "one two "}])


class TestTritonWire:
    TYPE = "application/vnd.sagemaker-triton.binary+json;json-header-size="

    def request(self, raw: bytes, size: int | None = None, **members: Any) -> tuple[bytes, str]:
        told = {
            "name": "image",
            "datatype": "BYTES",
            "shape": [1],
            "parameters": {"binary_data_size": size or len(raw)},
        }
        header = json.dumps({"inputs": [{**told, **members}]}).encode()
        return header + raw, f"{self.TYPE}{len(header)}"

    def test_a_row_is_behind_its_length(self):
        tensors, _ = read_request(*self.request(b"\3\0\0\0abc"))
        assert tensors["image"].rows == (b"abc",)

    @pytest.mark.parametrize(
        ("raw", "size", "members"),
        [
            (b"\3\0\0\0ab", None, {}),
            (b"\3\0\0\0abc", None, {"shape": [2]}),
            (b"\3\0\0\0abc", None, {"datatype": "FP32"}),
            (b"\3\0\0\0abcmore", 7, {}),
        ],
        ids=["short", "shape", "type", "surplus"],
    )
    def test_it_refuses_what_triton_refuses(self, raw, size, members):
        with pytest.raises(ValueError):
            read_request(*self.request(raw, size, **members))

    def test_it_refuses_json_alone(self):
        with pytest.raises(ValueError, match="json-header-size"):
            read_request(b"{}", "application/json")

    def test_its_replies_say_how_long_their_header_is(self):
        body, content_type = write_reply([("text", (1,), "BYTES", [b"ab"]), ("sure", (1,), "FP32", [0.5])])
        size = int(content_type.rpartition("=")[2])
        assert [output["name"] for output in json.loads(body[:size])["outputs"]] == ["text", "sure"]
        assert body[size:] == b"\2\0\0\0ab\0\0\0\x3f"


def test_a_backend_whose_package_is_missing_is_not_started():
    """The demo says so, in place of a function that fails at its first import."""
    with pytest.raises(StageMissingError, match="no_such_package not installed"):
        check_stage(replace(named("triton"), needs=("no_such_package",)))
