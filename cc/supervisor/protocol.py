"""What client and server say to each other. Pure: no socket, no file, no clock. Imports only errors.

One message is one line: a JSON object in UTF-8, at most 1 MiB with its newline. `v` is the version, `id` the number
that the client gave its request; it is null where no request is meant. One call at a time on a connection.

    client                                                         server
      | {"v":1,"id":7,"method":"up","params":{},"deadline_s":60}      |
      |-------------------------------------------------------------->|   deadline_s may be left out
      |                                     {"v":1,"id":7,"ack":true} |
      |<--------------------------------------------------------------|   at once, unless the answer comes at once
      |                    {"v":1,"id":7,"event":{"event":"...",...}} |
      |<--------------------------------------------------------------|   as they happen
      |                               {"v":1,"id":7,"heartbeat":true} |
      |<--------------------------------------------------------------|   every second while the call runs
      | {"v":1,"id":7,"cancel":"the user pressed Ctrl-C"}             |
      |-------------------------------------------------------------->|   may come; the one answer still follows
      |     {"v":1,"id":7,"result":{...},"dropped":0}                 |
      | or  {"v":1,"id":7,"error":{"type":"lock_held","message",...}} |
      |<--------------------------------------------------------------|   exactly one, the last of its id

`dropped` counts the events that the client read too slowly to get. Before it knows whom it refuses, the server says so
with `"id":null` and an error, and closes: too many connections (class Busy), junk, a line too long, nothing for 5 s.

An error is the `error` object of the command line (type, message, hint, file, line, field) and beside it `column`,
`evidence` (lines), `class` (the name in cc.errors, since ConfigError and a Failure may share a code), `exit_code`.

TCP only, before all else. T is the token, which never crosses; A is "HOST:PORT" of the server as each side sees it:

      | {"v":1,"id":null,"nonce":C}                                   |   C, S: 32 random bytes in hex, new each time
      |-------------------------------------------------------------->|
      |          {"v":1,"id":null,"nonce":S,"proof":H("server",C,S)}  |   H(who,C,S) = HMAC-SHA256(T, "cc-ipc-1
      |<--------------------------------------------------------------|                 LF who LF A LF C LF S"), hex
      | {"v":1,"id":null,"proof":H("client",C,S)}                     |
      |-------------------------------------------------------------->|
      |                                {"v":1,"id":null,"proven":true}|
      |<--------------------------------------------------------------|

The server proves first: whoever squats on the port is told one random number. Both nonces are in both proofs, so that
nothing recorded is of use later, and A, so that a squatter cannot pass them on to a server on another port.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from cc import errors
from cc.errors import CcError, Failure

VERSION = 1
MAX_LINE = 1024 * 1024  # bytes, the newline included
ROOM = 16  # bytes that an answer leaves for the number of events dropped
MAX_PROOF_LINE = 1024  # of a peer that has proven nothing yet
HEARTBEAT_S = 1.0
MAX_EVIDENCE = 40  # lines of an error that cross
MAX_EVIDENCE_LINE = 2000  # characters
LAST_ID = 2**53  # what every reader of JSON keeps exact

Message = dict[str, Any]


class OtherVersion(Failure):
    """The peer speaks another version of this protocol: `version`. It is replaced, not argued with."""

    code = "bad_answer"

    def __init__(self, version: object) -> None:
        super().__init__(
            f"the peer speaks version {version!r} of the protocol, this program version {VERSION}",
            hint="restart the supervisor: down, then up",
        )
        self.version = version


class Busy(Failure):
    """The server has as many connections or calls as it takes. Nothing was done: asking again is safe."""

    code = "connection_refused"


class Request(NamedTuple):
    """A call. `deadline_s` is how long the client will wait in all, None if it did not say."""

    id: int
    method: str
    params: Mapping[str, Any]
    deadline_s: float | None


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def encode(message: Mapping[str, Any]) -> bytes:
    """One line with its newline. Raises Failure internal_error for no JSON, bad_answer for too long a line."""
    try:
        line = _ENCODER.encode(message).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise Failure(f"a message cannot be written as JSON: {error}", code="internal_error") from error
    if len(line) > MAX_LINE:
        raise Failure(f"a message of {len(line)} bytes is over the limit of {MAX_LINE}", code="bad_answer")
    return line


def decode(line: bytes | bytearray) -> Message:
    """The message of a line: its version is ours and its id a number or None.

    Raises Failure bad_answer; OtherVersion for a message of another version.
    """
    if len(line) > MAX_LINE:
        raise _bad(f"a line of over {MAX_LINE} bytes")
    try:
        message = _DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _bad(f"not a line of JSON ({str(error)[:100]})", line) from None
    if not isinstance(message, dict):
        raise _bad("not a JSON object", line)
    if message.get("v") != VERSION or isinstance(message["v"], bool):
        if not isinstance(message.get("v"), int):
            raise _bad("a message without a version", line)
        raise OtherVersion(message["v"])
    if message.get("id") is not None and not _is_id(message["id"]):
        raise _bad("an id that is not a whole number", line)
    return message


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LAST_ID


def _bad(what: str, line: bytes | bytearray = b"") -> Failure:
    shown = (repr(bytes(line[:200])),) if line else ()
    return Failure(f"the peer sent {what}", code="bad_answer", evidence=shown)


def request(number: int, method: str, params: Mapping[str, Any], deadline_s: float | None = None) -> bytes:
    """The line of a call."""
    message: Message = {"v": VERSION, "id": number, "method": method, "params": params}
    if deadline_s is not None:
        message["deadline_s"] = deadline_s
    return encode(message)


def said(number: int | None, key: str, value: object, **more: object) -> bytes:
    """A line of one key: ack, event, heartbeat, result, cancel, nonce, proof, proven."""
    return encode({"v": VERSION, "id": number, key: value, **more})


def said_result(number: int, result: Mapping[str, Any]) -> bytes:
    """The line of an answer. Raises Failure like `encode`."""
    return _with_room(said(number, "result", result, dropped=0))


def said_error(number: int | None, error: CcError) -> bytes:
    """The line of an answer that is an error. Never raises: one that cannot cross whole crosses as its message."""
    try:
        return _with_room(said(number, "error", from_error(error), dropped=0))
    except Failure as failure:
        short = {"type": error.code, "class": type(error).__name__, "message": error.message[:MAX_EVIDENCE_LINE]}
        return said(number, "error", {**short, "evidence": [failure.message]}, dropped=0)


def with_dropped(answer: bytes, dropped: int) -> bytes:
    """An answer, made when none were, that says how many events were dropped."""
    return answer if dropped == 0 else answer.removesuffix(b"0}\n") + b"%d}\n" % dropped


def _with_room(answer: bytes) -> bytes:
    if len(answer) > MAX_LINE - ROOM:
        raise Failure(f"an answer of {len(answer)} bytes is over the limit of {MAX_LINE}", code="bad_answer")
    return answer


def read_request(message: Message) -> Request:
    """The call that a message is. Raises Failure bad_answer."""
    number, method, params = message.get("id"), message.get("method"), message.get("params", {})
    deadline_s = message.get("deadline_s")
    if number is None:
        raise _bad("a request without an id")
    if not isinstance(method, str) or not method:
        raise _bad("a request without a method")
    if not isinstance(params, dict):
        raise _bad("params that are not an object")
    timed = isinstance(deadline_s, (int, float)) and not isinstance(deadline_s, bool)
    if deadline_s is not None and not (timed and 0 < deadline_s < LAST_ID):
        raise _bad("a deadline that is not a number of seconds")
    return Request(number, method, params, deadline_s)


def from_error(error: CcError) -> Message:
    """An error as it crosses."""
    shown = error.evidence[-MAX_EVIDENCE:]
    return {
        **error.as_dict(),
        "message": error.message[:MAX_EVIDENCE_LINE],
        "column": getattr(error, "column", None),
        "evidence": [str(line)[:MAX_EVIDENCE_LINE] for line in shown],
        "class": type(error).__name__,
        "exit_code": error.exit_code,
    }


def to_error(found: object) -> CcError:
    """The error that crossed, of the same class, code, place and exit code. Never raises: nonsense is a bad_answer."""
    if not isinstance(found, dict) or not isinstance(found.get("message"), str):
        return _bad("an error that is none", repr(found).encode(errors="replace"))
    make = _CLASSES.get(str(found.get("class"))) or _CLASSES_BY_CODE.get(str(found.get("type")), _failure)
    error = make(found)
    evidence = found.get("evidence")
    if isinstance(evidence, list):
        error.evidence = tuple(str(line) for line in evidence)
    error.hint = _text(found, "hint")
    return error


def _text(found: Message, key: str) -> str | None:
    value = found.get(key)
    return value if isinstance(value, str) else None


def _number(found: Message, key: str) -> int | None:
    value = found.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _usage(found: Message) -> CcError:
    return errors.UsageError(found["message"], field=_text(found, "field"))


def _config(found: Message) -> CcError:
    return errors.ConfigError(
        found["message"], file=_text(found, "file"), line=_number(found, "line"), column=_number(found, "column"),
        field=_text(found, "field"),
    )  # fmt: skip


def _interrupted(found: Message) -> CcError:
    return errors.InterruptedRunError(found["message"], exit_code=_number(found, "exit_code") or 130)


def _failure(found: Message) -> CcError:
    """One of FAILURE_CODES. The `result` of a command does not cross: its failure is of the same class without one."""
    code = str(found.get("type"))
    if code not in errors.FAILURE_CODES:
        return Failure(f"{found['message']} (an error of a kind unknown here: {code!r})", code="bad_answer")
    kind = _COMMANDS.get(str(found.get("class")))
    return Failure(found["message"], code=code) if kind is None else kind(found["message"], code=code)


_COMMANDS = {
    kind.__name__: kind
    for kind in (
        errors.CommandFailure,
        errors.ToolMissing,
        errors.PermissionDenied,
        errors.NonZeroExit,
        errors.DeadlineExceeded,
        errors.Interrupted,
    )
}
_CLASSES: Mapping[str, Callable[[Message], CcError]] = {
    "UsageError": _usage,
    "ConfigError": _config,
    "LockHeldError": lambda found: errors.LockHeldError(found["message"]),
    "InterruptedRunError": _interrupted,
    "RunDeadlineError": lambda found: errors.RunDeadlineError(found["message"]),
    "Busy": lambda found: Busy(found["message"]),
    "Failure": _failure,
}
_CLASSES_BY_CODE = {"bad_usage": _usage, "lock_held": _CLASSES["LockHeldError"]}


class ServerProof:
    """The server's half of the proof on one connection: `feed` it each message, send what it returns."""

    def __init__(self, token: bytes, address: str) -> None:
        self._token = token
        self._address = address
        self._expected: str | None = None
        self.proven = False

    def feed(self, message: Message) -> bytes:
        """The next line to send. Raises Failure permission_denied, bad_answer."""
        if self._expected is None:
            theirs, ours = _nonce_in(message), _nonce()
            self._expected = proof(self._token, "client", self._address, theirs, ours)
            return said(None, "nonce", ours, proof=proof(self._token, "server", self._address, theirs, ours))
        if not _same(self._expected, message.get("proof")):
            raise Failure("the client does not know the token", code="permission_denied")
        self.proven = True
        return said(None, "proven", value=True)


class ClientProof:
    """The client's half: send `first`, then what `feed` returns, until it returns None."""

    def __init__(self, token: bytes, address: str) -> None:
        self._token = token
        self._address = address
        self._nonce = _nonce()
        self._waiting = False
        self.first = said(None, "nonce", self._nonce)

    def feed(self, message: Message) -> bytes | None:
        """The next line to send, None once both sides have proven. Raises Failure not_ours, bad_answer."""
        if "error" in message:
            raise to_error(message["error"])
        if self._waiting:
            if message.get("proven") is not True:
                raise _bad("no end to its proof")
            return None
        theirs = _nonce_in(message)
        if not _same(proof(self._token, "server", self._address, self._nonce, theirs), message.get("proof")):
            raise Failure(f"who listens on {self._address} is not our supervisor", code="not_ours")
        self._waiting = True
        return said(None, "proof", proof(self._token, "client", self._address, self._nonce, theirs))


def proof(token: bytes, who: str, address: str, client_nonce: str, server_nonce: str) -> str:
    """H(who, C, S) of the drawing."""
    import hmac  # 3 ms, which only those pay who use TCP

    text = "\n".join(("cc-ipc-1", who, address, client_nonce, server_nonce))
    return hmac.new(token, text.encode(), "sha256").hexdigest()


def _same(expected: str, given: object) -> bool:
    import hmac

    return isinstance(given, str) and given.isascii() and hmac.compare_digest(expected, given)


def _nonce() -> str:
    return os.urandom(32).hex()


def _nonce_in(message: Message) -> str:
    nonce = message.get("nonce")
    if not isinstance(nonce, str) or len(nonce) != 64 or not set(nonce) <= set("0123456789abcdef"):
        raise _bad("no nonce of 32 bytes in hex")
    return nonce
