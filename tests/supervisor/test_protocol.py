"""What crosses comes back as it was, and nothing that is no message gets through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cc import errors
from cc.errors import CcError, ConfigError, Failure, LockHeldError
from cc.supervisor import protocol
from cc.supervisor.protocol import ClientProof, ServerProof, decode, encode, from_error, read_request, to_error

TOKEN = b"k" * 32
HERE = "127.0.0.1:5555"


@pytest.mark.parametrize(
    "value", ["a\u2028b\nc\r\0", "\ud800", "Straße €", 2**53, -1.5, None, True, [], {"a": {"b": [1]}}]
)
def test_a_message_is_one_line_of_ascii_and_comes_back_as_it_was(value: object) -> None:
    line = protocol.said(7, "event", {"value": value})
    assert line.isascii()
    assert line.splitlines(keepends=True) == [line]
    assert decode(line) == {"v": 1, "id": 7, "event": {"value": value}}


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"junk\n", b"{\n", b"42\n", b"[]\n", b"null\n", b'"v"\n', b"\xff\xfe\n", b"\xff\xfe{\x00}\x00",
        b'{"v":1,"id":NaN}\n', b'{"v":1,"id":Infinity}\n', b"{}\n", b'{"v":"1","id":1}\n', b'{"v":true,"id":1}\n',
        b'{"v":1,"id":-1}\n', b'{"v":1,"id":1.5}\n', b'{"v":1,"id":"7"}\n', b'{"v":1,"id":true}\n',
        b'{"v":1,"id":9007199254740992}\n', b'{"v":1,"id":' + b"9" * 5000 + b"}\n", b"[" * 100_000, b"{" * 100_000,
        b'{"v":1,"id":1,"x":"' + b"x" * protocol.MAX_LINE + b'"}\n', b"GET / HTTP/1.1\r\n",
    ],
    ids=lambda line: repr(line[:24]),
)  # fmt: skip
def test_what_is_no_message_is_a_bad_answer(line: bytes) -> None:
    with pytest.raises(Failure) as caught:
        decode(line)
    assert caught.value.code == "bad_answer"


def test_a_message_of_another_version_says_which() -> None:
    with pytest.raises(protocol.OtherVersion) as caught:
        decode(b'{"v":2,"id":1}\n')
    assert caught.value.version == 2
    assert caught.value.code == "bad_answer"


@pytest.mark.parametrize("value", [object(), float("nan"), float("inf"), {1, 2}, b"bytes"])
def test_what_is_not_json_cannot_be_sent(value: object) -> None:
    with pytest.raises(Failure) as caught:
        encode({"value": value})
    assert caught.value.code == "internal_error"


def test_what_refers_to_itself_cannot_be_sent() -> None:
    ring: dict[str, Any] = {}
    ring["ring"] = ring
    with pytest.raises(Failure) as caught:
        encode(ring)
    assert caught.value.code == "internal_error"


def test_a_line_may_have_exactly_the_limit() -> None:
    bare = len(protocol.said(1, "event", ""))
    assert len(protocol.said(1, "event", "x" * (protocol.MAX_LINE - bare))) == protocol.MAX_LINE
    with pytest.raises(Failure, match="over the limit"):
        protocol.said(1, "event", "x" * (protocol.MAX_LINE - bare + 1))


def test_an_answer_has_room_for_the_number_of_events_dropped() -> None:
    bare = len(protocol.said_result(1, {"a": ""}))
    whole = protocol.said_result(1, {"a": "x" * (protocol.MAX_LINE - protocol.ROOM - bare)})
    assert decode(protocol.with_dropped(whole, 10**12))["dropped"] == 10**12
    assert protocol.with_dropped(whole, 0) == whole
    assert decode(protocol.with_dropped(protocol.said_error(1, Failure("no", code="deadline")), 3))["dropped"] == 3
    with pytest.raises(Failure, match="over the limit"):
        protocol.said_result(1, {"a": "x" * (protocol.MAX_LINE - protocol.ROOM - bare + 1)})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": None}, "without an id"),
        ({"method": None}, "without a method"),
        ({"method": ""}, "without a method"),
        ({"method": ["up"]}, "without a method"),
        ({"params": []}, "not an object"),
        ({"params": None}, "not an object"),
        ({"deadline_s": "1"}, "number of seconds"),
        ({"deadline_s": 0}, "number of seconds"),
        ({"deadline_s": -1}, "number of seconds"),
        ({"deadline_s": True}, "number of seconds"),
        ({"deadline_s": 1e300}, "number of seconds"),
    ],
)
def test_a_call_that_is_not_whole_is_refused(change: dict[str, Any], says: str) -> None:
    whole = {"v": 1, "id": 3, "method": "up", "params": {}, "deadline_s": 2.5}
    assert read_request(whole) == (3, "up", {}, 2.5)
    assert read_request({"v": 1, "id": 3, "method": "up"}) == (3, "up", {}, None)
    with pytest.raises(Failure, match=says) as caught:
        read_request({**whole, **change})
    assert caught.value.code == "bad_answer"


ERRORS = [
    errors.UsageError("no such flag", hint="leave it out", field="service"),
    ConfigError("unknown key", file="cc.yaml", line=3, column=7, field="colour", hint="color"),
    LockHeldError("another run", hint="wait", evidence=("pid 1",)),
    errors.InterruptedRunError("ended", exit_code=143),
    errors.RunDeadlineError("too late", hint="--timeout"),
    protocol.Busy("full", hint="later"),
    Failure("the tool refused its configuration", code="bad_config"),
    *(Failure("it failed", code=code, hint="mend it", evidence=("a", "b")) for code in sorted(errors.FAILURE_CODES)),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__} {error.code}")
def test_an_error_comes_back_with_its_class_code_place_and_exit_code(error: CcError) -> None:
    back = to_error(decode(protocol.said_error(1, error))["error"])
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.as_dict() == error.as_dict()
    assert (back.code, back.exit_code, back.evidence) == (error.code, error.exit_code, error.evidence)
    assert getattr(back, "column", None) == getattr(error, "column", None)


@pytest.mark.parametrize(
    "kind",
    [
        errors.ToolMissing, errors.PermissionDenied, errors.NonZeroExit, errors.DeadlineExceeded, errors.Interrupted,
        errors.CommandFailure,
    ],
)  # fmt: skip
def test_the_failure_of_a_command_crosses_without_its_result(kind: type[errors.CommandFailure]) -> None:
    code = None if kind is not errors.CommandFailure else "daemon_down"
    sent = kind("docker failed", code=code, result=object(), evidence=("sh: not found",))
    back = to_error(from_error(sent))
    assert type(back) is kind
    assert (back.code, back.evidence, back.result) == (sent.code, ("sh: not found",), None)


def test_evidence_that_is_too_much_is_cut_from_the_front_and_still_crosses() -> None:
    error = Failure("it failed", code="unhealthy", evidence=tuple(f"{n} " + "\u20ac" * 10_000 for n in range(1000)))
    back = to_error(decode(protocol.said_error(1, error))["error"])
    assert back.evidence[-1].startswith("999 ")
    assert len(back.evidence) == protocol.MAX_EVIDENCE


def test_an_error_that_cannot_cross_whole_crosses_as_its_message() -> None:
    error = ConfigError("unknown key", field="colour")
    error.field = object()  # type: ignore[assignment]
    back = to_error(decode(protocol.said_error(1, error))["error"])
    assert isinstance(back, ConfigError)
    assert back.message == "unknown key"
    assert "cannot be written as JSON" in back.evidence[0]


@pytest.mark.parametrize(
    "found", [None, 7, [], {}, {"message": 3}, {"message": "m"}, {"type": "never_heard_of", "message": "m"}]
)
def test_an_error_that_is_none_is_a_bad_answer(found: object) -> None:
    assert to_error(found).code == "bad_answer"


@pytest.mark.parametrize(
    "found",
    [
        {"type": "deadline", "message": "m", "evidence": 3, "hint": 4, "class": 5},
        {"type": "bad_config", "class": "ConfigError", "message": "m", "line": "3", "file": 7, "column": True},
        {"type": "interrupted", "class": "InterruptedRunError", "message": "m", "exit_code": "x"},
        {"type": [], "class": [], "message": "m"},
    ],
)
def test_an_error_with_fields_of_the_wrong_kind_is_still_an_error(found: dict[str, Any]) -> None:
    assert to_error(found).message.startswith("m")
    json.dumps(to_error(found).as_dict())


# -- the proof over TCP


def talk(client: ClientProof, server: ServerProof) -> list[bytes]:
    """Let them prove; what crossed."""
    crossed = [client.first]
    while True:
        crossed.append(server.feed(decode(crossed[-1])))
        following = client.feed(decode(crossed[-1]))
        if following is None:
            return crossed
        crossed.append(following)


def test_two_that_know_the_token_prove_it_to_each_other_and_it_never_crosses() -> None:
    server = ServerProof(TOKEN, HERE)
    crossed = talk(ClientProof(TOKEN, HERE), server)
    assert server.proven
    assert not any(TOKEN in line or TOKEN.hex().encode() in line for line in crossed)


def test_a_client_with_another_token_sends_nothing_after_its_nonce() -> None:
    with pytest.raises(Failure, match="not our supervisor") as caught:
        talk(ClientProof(b"x" * 32, HERE), ServerProof(TOKEN, HERE))
    assert caught.value.code == "not_ours"


def test_a_proof_for_another_port_is_none() -> None:
    with pytest.raises(Failure, match="not our supervisor"):
        talk(ClientProof(TOKEN, "127.0.0.1:6666"), ServerProof(TOKEN, HERE))


def test_what_a_client_said_is_of_no_use_the_next_time() -> None:
    recorded = talk(ClientProof(TOKEN, HERE), ServerProof(TOKEN, HERE))
    server = ServerProof(TOKEN, HERE)
    server.feed(decode(recorded[0]))
    with pytest.raises(Failure) as caught:
        server.feed(decode(recorded[2]))
    assert caught.value.code == "permission_denied"
    assert not server.proven


def test_what_a_server_said_is_of_no_use_the_next_time() -> None:
    recorded = talk(ClientProof(TOKEN, HERE), ServerProof(TOKEN, HERE))
    with pytest.raises(Failure, match="not our supervisor"):
        ClientProof(TOKEN, HERE).feed(decode(recorded[1]))


def test_the_servers_own_proof_sent_back_to_it_proves_nothing() -> None:
    server = ServerProof(TOKEN, HERE)
    said = decode(server.feed(decode(ClientProof(TOKEN, HERE).first)))
    with pytest.raises(Failure):
        server.feed({"v": 1, "id": None, "proof": said["proof"]})
    assert not server.proven


@pytest.mark.parametrize("nonce", [None, "", "ab", 7, "G" * 64, "A" * 64, "é" * 64])
def test_a_nonce_that_is_none_is_refused_by_both(nonce: object) -> None:
    for side in (ServerProof(TOKEN, HERE), ClientProof(TOKEN, HERE)):
        with pytest.raises(Failure) as caught:
            side.feed({"v": 1, "id": None, "nonce": nonce, "proof": "0" * 64})
        assert caught.value.code == "bad_answer"


@pytest.mark.parametrize("proof", [None, "", 7, "é" * 64, "0" * 64])
def test_a_proof_that_is_none_proves_nothing(proof: object) -> None:
    server = ServerProof(TOKEN, HERE)
    server.feed(decode(ClientProof(TOKEN, HERE).first))
    with pytest.raises(Failure):
        server.feed({"v": 1, "id": None, "proof": proof})
    assert not server.proven
