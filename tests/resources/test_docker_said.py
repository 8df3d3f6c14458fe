"""What docker and compose say when they refuse, in the words of several versions, and which failure it is."""

from __future__ import annotations

import pytest

from cc.errors import CommandFailure, DeadlineExceeded, Interrupted, NonZeroExit, PermissionDenied, ToolMissing
from cc.resources.docker_said import classified
from cc.shell.command import Result

SAID = [
    # the engine
    (
        "daemon_down",
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        "20.10, 24, 27",
    ),
    (
        "daemon_down",
        (
            "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and the "
            "daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory"
        ),
        "28",
    ),
    (
        "daemon_down",
        (
            'error during connect: Get "http://nohost.invalid:1/v1.50/x": dial tcp: lookup nohost.invalid '
            "on 10.0.0.53:53: no such host"
        ),
        "28, a host without an address: no image is missing",
    ),
    ("daemon_down", "Failed to initialize: protocol not available", "28, npipe:// where there are no named pipes"),
    ("daemon_down", "unable to get image 'x:1': failed to dial: dial tcp: lookup nohost: no such host", "a remote one"),
    ("daemon_down", "unable to parse docker host `garbage`", "24"),
    (
        "daemon_down",
        (
            "command [ssh -l nobody -- h docker system dial-stdio] has exited with exit status 255, please make sure "
            "the URL is valid, and Docker 18.09 or later is installed on the remote host: stderr=ssh: no such host"
        ),
        "ssh",
    ),
    ("daemon_down", "ERROR: Couldn't connect to Docker daemon at http+docker://localhost - is it running?", "legacy"),
    (
        "daemon_down",
        (
            "docker.errors.DockerException: Error while fetching server API version: ('Connection aborted.', "
            "FileNotFoundError(2, 'No such file or directory'))"
        ),
        "legacy 1.29",
    ),
    (
        "permission_denied",
        (
            "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
            'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.24/containers/json": dial unix /var/run/docker.sock: connect: '
            "permission denied"
        ),
        "20.10",
    ),
    (
        "permission_denied",
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Head",
        "24, 27",
    ),
    (
        "permission_denied",
        "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock",
        "29",
    ),
    (
        "permission_denied",
        (
            "docker.errors.DockerException: Error while fetching server API version: ('Connection aborted.', "
            "PermissionError(13, 'Permission denied'))"
        ),
        "legacy 1.29",
    ),
    (
        "daemon_hung",
        (
            "ERROR: for web  UnixHTTPConnectionPool(host='localhost', port=None): Read timed out. (read timeout=60)\n"
            "ERROR: An HTTP request took too long to complete. Retry with --verbose to obtain debug information."
        ),
        "legacy 1.29",
    ),
    # compose that is not there
    ("tool_missing", "docker: 'compose' is not a docker command.\nSee 'docker --help'", "20.10, 24, 27"),
    ("tool_missing", "unknown shorthand flag: 'f' in -f\nSee 'docker --help'.", "20.10, with -f"),
    (
        "tool_missing",
        "docker: unknown command: docker compose\n\nRun 'docker --help' for more information",
        "28",
    ),
    (
        "tool_missing",
        "docker.errors.DockerException: Error while fetching server API version: Not supported URL scheme http+docker",
        "legacy 1.29 beside requests 2.32",
    ),
    (
        "tool_missing",
        (
            "docker.errors.DockerException: Error while fetching server API version: HTTPConnection.request() got an "
            "unexpected keyword argument 'chunked'"
        ),
        "legacy 1.29 beside urllib3 2",
    ),
    (
        "tool_missing",
        "TypeError: kwargs_from_env() got an unexpected keyword argument 'ssl_version'",
        "legacy 1.29 beside docker 7",
    ),
    # ports
    (
        "port_in_use",
        (
            "docker: Error response from daemon: driver failed programming external connectivity on endpoint x (0a1b): "
            "Bind for 127.0.0.1:8123 failed: port is already allocated."
        ),
        "20.10, 24, 27",
    ),
    (
        "port_in_use",
        (
            "Error response from daemon: driver failed programming external connectivity on endpoint x (0a1b): Error "
            "starting userland proxy: listen tcp4 127.0.0.1:8123: bind: address already in use"
        ),
        "20.10",
    ),
    (
        "port_in_use",
        (
            "Error response from daemon: failed to set up container networking: driver failed programming external "
            "connectivity on endpoint x (0a1b): failed to bind host port for 127.0.0.1:8123:172.17.0.2:80/tcp: address "
            "already in use"
        ),
        "28",
    ),
    (
        "port_in_use",
        "Error response from daemon: Ports are not available: exposing port TCP 127.0.0.1:8123 -> 127.0.0.1:0: listen",
        "Desktop",
    ),
    # images
    (
        "image_missing",
        (
            "Unable to find image 'nope:1' locally\ndocker: Error response from daemon: pull access denied for nope, "
            "repository does not exist or may require 'docker login': denied: requested access is denied."
        ),
        "20.10, 24, 27",
    ),
    (
        "image_missing",
        "Error response from daemon: manifest for 127.0.0.1:5000/cc/tiny:nope not found: manifest unknown: unknown",
        "20.10",
    ),
    (
        "image_missing",
        'Error response from daemon: failed to resolve reference "docker.io/library/nope:1": not found',
        "28, containerd's store",
    ),
    (
        "image_missing",
        (
            'Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1 on '
            "127.0.0.53:53: no such host"
        ),
        "no network",
    ),
    (
        "image_missing",
        (
            'Error response from daemon: Get "https://registry-1.docker.io/v2/": net/http: request canceled while '
            "for connection (Client.Timeout exceeded while awaiting headers)"
        ),
        "a network without a way out",
    ),
    (
        "image_missing",
        "Error response from daemon: Get http://localhost:1/v2/: dial tcp 127.0.0.1:1: connect: connection refused",
        "19, without quotes",
    ),
    (
        "image_missing",
        "Error response from daemon: toomanyrequests: You have reached your pull rate limit.",
        "Docker Hub",
    ),
    (
        "image_missing",
        "no matching manifest for linux/arm64/v8 in the manifest list entries",
        "another machine's image",
    ),
    ("image_missing", "Error response from daemon: No such image: nope:1", "20.10"),
    (
        "image_missing",
        "Error response from daemon: Head https://r/v2/x/manifests/1: unauthorized: authentication required",
        "a private one",
    ),
    # disk
    (
        "disk_full",
        "failed to register layer: Error processing tar file(exit status 1): write /usr/bin/x: no space left on device",
        "while pulling",
    ),
    # names
    (
        "not_ours",
        (
            'Error response from daemon: Conflict. The container name "/web" is already in use by container "0a". You '
            "have to remove (or rename) that container to be able to reuse that name."
        ),
        "20.10 to 28",
    ),
    # dependencies
    ("unhealthy", "dependency failed to start: container p-db-1 is unhealthy", "compose v2"),
    ("unhealthy", "dependency failed to start: container p-db-1 exited (1)", "compose v2"),
    ("unhealthy", 'service "migrate" didn\'t complete successfully: exit 1', "compose v2"),
    ("unhealthy", 'ERROR: for web  Container "0a1b" is unhealthy.', "legacy"),
    # configuration
    ("bad_config", "yaml: line 1: did not find expected ',' or '}'", "compose v2"),
    ("bad_config", "yaml.scanner.ScannerError: mapping values are not allowed here", "legacy"),
    ("bad_config", "validating /x/c.yml: services.web Additional property imag is not allowed", "compose v2"),
    (
        "bad_config",
        "ERROR: The Compose file './c.yml' is invalid because:\nUnsupported config option for services.web: 'imag'",
        "legacy",
    ),
    (
        "bad_config",
        'Missing mandatory value for "image" option interpolating ${X:?be set} in service "a": be set',
        "legacy",
    ),
    ("bad_config", "Top level object in './c.yml' needs to be an object not '<class 'NoneType'>'.", "legacy"),
    ("bad_config", 'service "web" refers to undefined volume a: invalid compose project', "compose v2"),
    ("bad_config", 'service "web" has neither an image nor a build context specified: invalid compose project', "v2"),
    ("bad_config", "no such service: nosuch", "compose v2"),
    ("bad_config", "ERROR: No such service: nosuch", "legacy"),
    ("bad_config", "error while interpolating services.web.image: required variable X is missing a value: must", "v2"),
    ("bad_config", "invalid interpolation format for services.web.image.\nYou may need to escape any $", "compose v2"),
    ("bad_config", 'invalid project name "Bad P": must consist only of lowercase alphanumeric characters', "v2"),
    ("bad_config", "empty compose file", "compose v2"),
    ("bad_config", "open /x/docker-compose.yml: no such file or directory", "compose v2"),
    ("bad_config", "FileNotFoundError: [Errno 2] No such file or directory: './c.yml'", "legacy"),
    ("bad_config", "no configuration file provided: not found", "compose v2"),
    ("bad_config", "docker: invalid reference format: repository name (library/BAD) must be lowercase", "28"),
    (
        "bad_config",
        (
            'Failed to initialize: unable to resolve docker endpoint: context "nix": context not found: open m: no '
            "such file or directory"
        ),
        "28",
    ),
    ("bad_config", 'unable to resolve docker endpoint: context "nix" does not exist', "20.10"),
    # what nobody knows stays what it was
    ("non_zero_exit", "something else went wrong", ""),
    ("non_zero_exit", "", ""),
]


def failed(stderr: str, stdout: str = "") -> NonZeroExit:
    result = Result(("docker", "x"), 1, stdout=stdout, stderr=stderr)
    return NonZeroExit("`docker x` exited with 1", result=result, evidence=result.tail())


@pytest.mark.parametrize(("code", "text", "version"), SAID, ids=[f"{c}-{v}-{t[:30]}" for c, t, v in SAID])
def test_what_docker_says_is_brought_to_one_code(code: str, text: str, version: str) -> None:
    found = classified(failed(text))
    assert found.code == code, version
    assert found.message
    assert found.evidence == failed(text).evidence
    assert isinstance(found, CommandFailure)
    assert found.result is not None


@pytest.mark.parametrize("code", ["daemon_down", "permission_denied", "tool_missing"])
def test_what_can_be_mended_says_what_to_type(code: str) -> None:
    hints = {classified(failed(text)).hint for each, text, _ in SAID if each == code}
    assert len(hints) == 1
    assert None not in hints


def test_the_line_that_explains_it_is_the_message() -> None:
    text = "Unable to find image 'x' locally\nsomething\nBind for 127.0.0.1:1 failed: port is already allocated.\nmore"
    assert classified(failed(text)).message == "Bind for 127.0.0.1:1 failed: port is already allocated."


def test_the_reason_on_the_next_line_is_told_with_it() -> None:
    text = (
        "The Compose file './c.yml' is invalid because:\n'name' does not match any of the regexes: '^x-'\n\nYou might"
    )
    expected = "The Compose file './c.yml' is invalid because: 'name' does not match any of the regexes: '^x-'"
    assert classified(failed(text)).message == expected


def test_a_legacy_program_beside_libraries_that_it_cannot_use_is_broken_and_no_engine_down() -> None:
    found = classified(
        failed("DockerException: Error while fetching server API version: Not supported URL scheme http+docker")
    )
    assert found.message.startswith("docker-compose is broken: DockerException: ")


def test_what_compose_says_on_standard_output_counts_too() -> None:
    assert classified(failed("", stdout="no such service: x")).code == "bad_config"


def test_a_missing_program_a_late_one_and_others_of_the_seams_own() -> None:
    missing = classified(ToolMissing("docker is not on PATH", result=Result(("docker",), 127)))
    assert (missing.code, missing.message) == ("tool_missing", "docker is not installed (no `docker` on PATH)")
    late = classified(DeadlineExceeded("`docker ps` did not end within 10 s", result=Result(("docker",), -9)))
    assert (late.code, late.message) == (
        "daemon_hung", "docker does not answer: `docker ps` did not end within 10 s",
    )  # fmt: skip
    for other in (PermissionDenied("no"), Interrupted("stop"), CommandFailure("x", code="disk_full")):
        assert classified(other) is other
