"""`tokens` as it is typed: exit codes, JSON, pipes, a server that counts, one that does not."""

from __future__ import annotations

import os
import subprocess
from http.server import BaseHTTPRequestHandler

import pytest

from tests.answering import Server, say
from tests.integration.box import COMMAND_S, PROGRAM, Box

JSON = {"Content_Type": "application/json"}


def keyed(server: Server) -> dict[str, str]:
    return {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url, "CC_TOKENS_TIMEOUT": "2"}


def piped(box: Box, data: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*PROGRAM, "tokens", *words], input=data, env=box.env, cwd=box.dir, capture_output=True, timeout=COMMAND_S,
        check=False,
    )  # fmt: skip


def test_a_pipe_is_estimated_offline_and_strict_does_not_mind(box: Box) -> None:
    done = piped(box, "Ünïcode words, some of them.".encode(), "--offline", "--strict")
    assert done.returncode == 0
    assert done.stdout.decode().startswith("≈ ")
    assert done.stderr == b""


def test_without_a_key_it_is_degraded_which_only_strict_minds(box: Box) -> None:
    assert piped(box, b"x", "--json").returncode == 0
    assert piped(box, b"x", "--json", "--strict").returncode == 3


def test_anthropic_counts_and_after_a_refusal_the_estimate_answers(box: Box, server: Server) -> None:
    (box.dir / "text").write_text("a text to be counted")
    server.reply = say(200, b'{"input_tokens": 1234}', **JSON)
    done = box.ask("tokens", "--path", "text", "--strict", env=keyed(server))
    assert (done.code, done.json["tokens"], done.json["rung"], done.json["degraded"]) == (0, 1234, 0, False)
    server.reply = say(429, b"{}", Retry_After="60")
    done = box.ask("tokens", "--path", "text", env=keyed(server))
    assert (done.code, done.json["rung"], done.json["degraded"]) == (0, 1, True)
    assert "answered 429: rate limit, to be asked again after 60 s" in done.json["reason"]


def test_a_server_that_is_silent_costs_the_deadline_and_no_more(box: Box, server: Server) -> None:
    def silent(handler: BaseHTTPRequestHandler) -> None:
        server.over.wait(COMMAND_S)

    server.reply = silent
    (box.dir / "text").write_text("a text")
    done = box.ask("tokens", "--path", "text", env=keyed(server))
    assert done.json["tried"][0]["error"] == "deadline"
    assert done.json["rung"] == 1


def test_a_file_that_can_not_be_read_is_named_and_the_exit_code_says_so(box: Box) -> None:
    (box.dir / "text").write_text("a text")
    os.mkfifo(box.dir / "fifo")
    done = box.ask("tokens", "--offline", "--path", "text", "--path", "missing", "--path", "fifo", "--by", "file")
    assert done.code == 1
    assert [each["path"] for each in done.json["coverage"]["unreadable"]] == ["missing", "fifo"]
    assert [file["path"] for file in done.json["files"]] == ["text"]


@pytest.mark.parametrize(
    ("name", "budget", "fits", "code", "strict"),
    [("fits.py", 10_000, "yes", 0, 0), ("fits.py", 100, "no", 1, 1), ("nobody-measured.json", 10_000, "unsure", 0, 3)],
)
def test_whether_all_fit_into_the_budget_is_the_exit_code(
    box: Box, name: str, budget: int, fits: str, code: int, strict: int
) -> None:
    text = '{"a": [1, 2, 3]}' if name.endswith(".json") else "def answer(number):\n    return number + 1\n\n\n" * 60
    (box.dir / name).write_text(text)
    words = ("tokens", "--offline", "--path", name, "--budget", str(budget))
    done = box.ask(*words)
    assert (done.json["budget"]["fits"], done.code, box.run(*words, "--quiet", "--strict").code) == (fits, code, strict)


@pytest.mark.parametrize("words", [("--by", "day"), ("--budget", "many"), ("--model", "two words"), ("--path", "")])
def test_wrong_words_exit_2(box: Box, words: tuple[str, str]) -> None:
    done = box.run("tokens", *words)
    assert done.code == 2
    assert words[0] in done.err


def test_a_timeout_that_is_none_is_named(box: Box) -> None:
    done = box.run("tokens", "--offline", env={"CC_TOKENS_TIMEOUT": "soon"})
    assert done.code == 2
    assert "CC_TOKENS_TIMEOUT" in done.err


def test_without_a_key_the_client_is_not_even_imported(box: Box) -> None:
    done = subprocess.run(
        [PROGRAM[0], "-X", "importtime", *PROGRAM[1:], "tokens"], input=b"x", env=box.env, cwd=box.dir,
        capture_output=True, timeout=COMMAND_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert b"cc.tokens.api" in done.stderr
    assert b"anthropic" not in done.stderr.replace(b"cc.tokens.api", b"")


def test_a_directory_as_a_user_keeps_it(box: Box) -> None:
    (box.dir / "project" / ".git").mkdir(parents=True)
    (box.dir / "project" / ".git" / "blob").write_text("never")
    (box.dir / "project" / "main.py").write_text("print('x')\n" * 100)
    (box.dir / "project" / "icon").write_bytes(b"\0" * 100)
    done = box.run("tokens", "--offline", "--path", "project", "--by", "file", "--budget", "200000", "--no-color")
    assert done.code == 0
    assert "of a budget of 200,000: fits" in done.out
    assert "skipped: .git (1), binary files (1)" in done.out
    assert "project/main.py" in done.out
