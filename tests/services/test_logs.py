"""The log of a service: a process's past rotation, a container's past its ends; what is said where there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cc.errors import Failure, Interrupted
from cc.resources.state import Journal
from cc.services import logs
from cc.services.logs import tell_log
from tests.engines import answer, engine
from tests.integration.box import eventually
from tests.resources.test_docker_logs import T1, T2, T3, frame
from tests.services.conftest import Yard

NAME = "p-clickhouse-otel"


class Reader:
    """What `logs` tells of a service, in a thread where it follows."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.lines: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.ended: BaseException | None = None

    def read(self, name: str, lines: int = 100, *, follow: bool = False) -> list[tuple[str, str]]:
        tell_log(
            self.yard.stack, name, lines, lambda *line: self.lines.append(line), self.said.append, follow=follow
        )  # fmt: skip
        return self.lines

    @contextmanager
    def following(self, name: str, lines: int = 100) -> Iterator[None]:
        def work() -> None:
            try:
                self.read(name, lines, follow=True)
            except Failure as failure:
                self.ended = failure

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.yard.cancel.request("SIGINT")
            thread.join(10)
            assert not thread.is_alive()

    def until(self, *lines: str) -> None:
        eventually(lambda: [line for _, line in self.lines] == list(lines), within=5, what=f"{lines} in {self.lines}")


@pytest.fixture
def reader(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setattr(logs, "POLL_S", 0.01)
    return Reader(yard)


def file_of(yard: Yard, name: str) -> Path:
    return Path(yard.stack.state.logs) / f"{name}.log"


# -- processes


def test_the_last_lines_of_a_process_reach_into_the_older_file(reader: Reader) -> None:
    path = file_of(reader.yard, "supervisor")
    path.with_name("supervisor.log.1").write_text("1\n2\n")
    path.write_text("3\n")
    assert reader.read("supervisor", 2) == [("log", "2"), ("log", "3")]
    assert reader.said == []


@pytest.mark.parametrize("name", ["dashboard", "supervisor"])
def test_a_process_without_a_log_is_a_failure_that_says_what_to_type(reader: Reader, name: str) -> None:
    with pytest.raises(Failure) as caught:
        reader.read(name)
    assert str(file_of(reader.yard, name)) in caught.value.message
    assert "`up`" in str(caught.value.hint)


def test_an_empty_log_is_none_to_be_silent_about(reader: Reader) -> None:
    file_of(reader.yard, "dashboard").touch()
    assert reader.read("dashboard") == []
    assert reader.said == [f"{file_of(reader.yard, 'dashboard')} is empty"]


def test_the_password_is_masked_in_a_process_log(reader: Reader) -> None:
    Path(reader.yard.stack.state.password).write_text("hunter22hunter22\n")
    file_of(reader.yard, "dashboard").write_text("with hunter22hunter22 in it\n")
    assert reader.read("dashboard") == [("log", "with *** in it")]


def test_a_process_is_followed_from_before_its_log_is_there_past_its_rotation(reader: Reader) -> None:
    path = file_of(reader.yard, "dashboard")
    with reader.following("dashboard"):
        eventually(lambda: reader.said, what="that it waits")
        path.write_text("1\n")
        reader.until("1")
        path.rename(path.with_name("dashboard.log.1"))
        path.write_text("2\n")
        reader.until("1", "2")
        path.write_text("after a cut\n")
        reader.until("1", "2", "after a cut")
    assert reader.said == [f"there is no {path} yet: waiting for it"]
    assert isinstance(reader.ended, Interrupted)


# -- containers


class Engine:
    """An engine with one container, whose every end and start the test says. `log` is what it wrote so far."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.state: dict[str, Any] | None = {"Status": "running", "Pid": 7, "StartedAt": "1"}
        self.id = "id-1"
        self.log = [frame("one\n", 1, T1)]
        self.environ: list[str] = []
        self.labels: dict[str, str] | None = None

    def says(self, target: str) -> bytes:
        if "/logs?" in target:
            since = target.partition("since=")[2].partition("&")[0]
            if "tail=0" in target:
                return answer(b"")
            log = self.log if not since else [each for each in self.log if T1.encode() not in each]
            return answer(b"".join(log))
        if self.state is None:
            return answer({"message": "no such container"}, 404)
        told = self.yard.container(NAME, State=self.state, Id=self.id)
        told["Config"] = {**told["Config"], "Env": self.environ}
        if self.labels is not None:
            told["Config"]["Labels"] = self.labels
        return answer(told)


@pytest.fixture
def docker(yard: Yard) -> Iterator[Engine]:
    made = Engine(yard)
    with engine(made.says) as found:
        yard.environ["DOCKER_HOST"] = f"unix://{found.path}"
        yard._stack = None
        yield made


def test_a_container_that_has_ended_still_has_its_log(reader: Reader, docker: Engine) -> None:
    docker.state = {"Status": "exited", "ExitCode": 1}
    assert reader.read("clickhouse") == [("stdout", "one")]


def test_the_password_that_the_container_was_given_is_masked_too(reader: Reader, docker: Engine) -> None:
    docker.environ = ["CLICKHOUSE_PASSWORD=given-to-it"]
    docker.log = [frame("given-to-it\n")]
    assert reader.read("clickhouse") == [("stdout", "***")]


def test_a_strangers_container_is_not_shown(reader: Reader, docker: Engine) -> None:
    docker.labels = {}
    with pytest.raises(Failure) as caught:
        reader.read("clickhouse")
    assert (caught.value.code, reader.lines) == ("not_ours", [])


def test_no_container_says_what_to_type_and_shows_what_the_journal_kept(reader: Reader, docker: Engine) -> None:
    docker.state = None
    with pytest.raises(Failure) as caught:
        reader.read("clickhouse")
    assert (f"there is no container {NAME}" in caught.value.message, caught.value.evidence) == (True, ())
    assert "`up` starts it" in str(caught.value.hint)
    Path(reader.yard.stack.state.password).write_text("hunter22hunter22\n")
    journal = Journal(reader.yard.stack.state.journal)
    journal.append({"event": "step_finished", "step": "clickhouse", "evidence": ["older"]})
    journal.append({"event": "step_finished", "step": "clickhouse", "evidence": ["last words", "of hunter22hunter22"]})
    journal.append({"event": "step_finished", "step": "collector", "evidence": ["another's"]})
    with pytest.raises(Failure, match="the last lines that the journal kept of it") as caught:
        reader.read("clickhouse", follow=True)
    assert caught.value.evidence == ("last words", "of ***")


def test_without_docker_it_says_so_and_shows_what_the_journal_kept(reader: Reader) -> None:
    journal = Journal(reader.yard.stack.state.journal)
    journal.append({"event": "step_finished", "step": "clickhouse", "evidence": ["last words"]})
    with pytest.raises(Failure) as caught:
        reader.read("clickhouse")
    assert (caught.value.code, caught.value.evidence) == ("daemon_down", ("last words",))
    assert caught.value.hint


def follow_past(reader: Reader, docker: Engine, again: Callable[[], None]) -> None:
    with reader.following("clickhouse"):
        reader.until("one")
        docker.state = {"Status": "exited", "ExitCode": 137}
        eventually(lambda: reader.said, what="that it ended")
        again()
        reader.until("one", "two", "three")


def test_a_container_that_is_started_again_is_followed_on(reader: Reader, docker: Engine) -> None:
    def again() -> None:
        docker.log += [frame("two\n", 1, T2), frame("three\n", 2, T3)]
        docker.state = {"Status": "running", "StartedAt": "2"}

    follow_past(reader, docker, again)
    assert reader.said[:2] == [
        f"{NAME} is exited with code 137; waiting for it to be started again",
        "clickhouse was started again; its log goes on",
    ]
    assert reader.lines[-1] == ("stderr", "three")


def test_one_that_was_removed_and_made_anew_is_told_from_its_start(reader: Reader, docker: Engine) -> None:
    def again() -> None:
        docker.state = None
        eventually(lambda: f"{NAME} is gone; waiting for it to be started again" in reader.said)
        docker.log = [frame("two\n", 1, T1), frame("three\n", 1, T1)]  # an engine of the same second
        docker.id, docker.state = "id-2", {"Status": "running", "StartedAt": "1"}

    follow_past(reader, docker, again)


def test_a_stream_that_breaks_off_while_the_container_runs_goes_on_without_a_word(
    reader: Reader, docker: Engine
) -> None:
    with reader.following("clickhouse"):
        reader.until("one")
        docker.log.append(frame("two\n", 1, T2))
        reader.until("one", "two")
        assert reader.said == []


def test_with_no_lines_asked_for_only_what_comes_is_told(reader: Reader, docker: Engine) -> None:
    docker.log = []
    with reader.following("clickhouse", 0):
        docker.log = [frame("old\n", 1, T1), frame("new\n", 1, "2099-01-01T00:00:00.000000001Z")]
        reader.until("new")


def test_one_that_does_not_come_back_is_given_up_in_time(
    reader: Reader, docker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "AGAIN_S", 0.1)
    docker.state = {"Status": "exited", "ExitCode": 0}
    assert reader.read("clickhouse", follow=True) == [("stdout", "one")]
    assert reader.said[-1] == "clickhouse was not started again within 0.1 s"


def test_an_engine_that_goes_away_is_waited_for_too(
    reader: Reader, yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "AGAIN_S", 0.2)
    made = Engine(yard)
    with engine(made.says) as found:
        yard.environ["DOCKER_HOST"] = f"unix://{found.path}"
        yard._stack = None
        with reader.following("clickhouse"):
            reader.until("one")
            found.close()
            eventually(lambda: any("not started again" in said for said in reader.said))
    assert any("not running" in said for said in reader.said)


def test_interrupted_while_it_waits_it_ends(reader: Reader, docker: Engine) -> None:
    with reader.following("clickhouse"):
        reader.until("one")
        docker.state = None
        eventually(lambda: reader.said)
    assert isinstance(reader.ended, Interrupted)
