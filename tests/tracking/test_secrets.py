"""A server that asks for a user and a password: everything arrives, and neither is to be found."""

import base64
import http.client
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dlrun import record
from dlrun.__main__ import main
from tests.conftest import in_suite

USER, PASSWORD = "someone", "s3cr3t%2Fpass"
QUICK = ("epochs=2 steps", "threads=1", "tracking.checkpoints=false", "tracking.model=false")


@pytest.fixture
def guarded(server):
    """The address of a server that answers nobody but `USER` with `PASSWORD`."""
    wanted = "Basic " + base64.b64encode(f"{USER}:s3cr3t/pass".encode()).decode()

    class Guard(BaseHTTPRequestHandler):
        def _pass_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != wanted:
                status, kind, answer = 401, "text/plain", b"who are you?"
            else:
                behind = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
                kept = ("host", "authorization", "connection")
                headers = {k: v for k, v in self.headers.items() if k.lower() not in kept}
                behind.request(self.command, self.path, body, headers)
                reply = behind.getresponse()
                status, kind = reply.status, reply.headers.get("Content-Type", "text/plain")
                answer = reply.read()
                behind.close()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

        def log_message(self, *what):
            pass

    guard = ThreadingHTTPServer(("127.0.0.1", 0), Guard)
    guard.daemon_threads = True
    threading.Thread(target=guard.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{guard.server_port}"
    guard.shutdown()
    guard.server_close()


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "here"


def found(server, run):
    """The run as the server has it."""
    from mlflow import MlflowClient

    return MlflowClient(server.uri).get_run(record.read_json(run / "tracking.json")["run_id"])


def files_with(folder, *texts):
    """The files below a folder that hold one of these texts."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if any(text.encode() in path.read_bytes() for text in texts)]


@pytest.mark.parametrize("way", in_suite(["typed"], ["typed", "environment", "file"]))
def test_a_password_delivers_and_is_nowhere(
    way, guarded, server, here, tmp_path, monkeypatch, capfd
):
    uri = f"http://{USER}:{PASSWORD}@{guarded}"
    given = []
    if way == "typed":
        given = [f"tracking.uri={uri}"]
    elif way == "environment":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    else:
        (tmp_path / "mine" / "tracking").mkdir(parents=True)
        text = f"# Ours\n_target_: dlrun.tracking.start\nuri: {uri}\noutputs: ${{outputs}}\n"
        (tmp_path / "mine" / "tracking" / "ours.yaml").write_text(text)
        given = ["--config-dir", "../mine", "tracking=ours"]
    quick = QUICK[:2] if way == "file" else QUICK
    assert main([*quick, *given]) == 0
    [run] = record.all_runs("outputs")
    first = found(server, run)
    assert first.info.status == "FINISHED"
    assert "val/accuracy" in first.data.metrics
    assert main(["resume=last", "epochs=4 steps"]) == 0
    again = found(server, run)
    assert again.info.run_id == first.info.run_id
    steps = {point["step"] for point in record.read_points(run)}
    assert max(steps) == 4
    (run / "tracking.json").write_text(
        (run / "tracking.json").read_text().replace('"done": true', '"done": false')
    )
    # Days later, in another shell, where nothing of it is said.
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    later = [sys.executable, "-m", "dlrun", "sync"]
    done = subprocess.run(later, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "complete: " in done.stdout
    shown = capfd.readouterr()
    print(done.stdout, done.stderr, shown.out, shown.err)
    shown = capfd.readouterr()
    assert f"http://***@{guarded}" in shown.out
    secrets = (PASSWORD, "s3cr3t", f"{USER}:", f"{USER}@")
    assert not [text for text in secrets if text in shown.out + shown.err]
    assert files_with(here, *secrets) == []
    assert files_with(server._folder, "s3cr3t") == []
    [kept] = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


@pytest.mark.proof
def test_a_sweep_shows_no_password_and_neither_does_a_failed_delivery(
    guarded, server, here, tmp_path, capfd
):
    wrong = f"http://{USER}:s3cr3t-wrong@{guarded}"
    assert main(["-m", *QUICK, "seed=0,1", f"tracking.uri={wrong}"]) == 0
    assert main(["sync"]) == 1
    assert main([*QUICK, "epochs=0", "name=s3cr3t-free", f"tracking.uri=foo {wrong}"]) == 2
    assert main([*QUICK, f"tracking.uri={wrong}/?password=s3cr3t", "--cfg", "job"]) == 0
    shown = capfd.readouterr()
    assert "401" in shown.out + shown.err
    assert "s3cr3t-wrong" not in shown.out + shown.err
    assert "password=s3cr3t" not in shown.out + shown.err
    assert files_with(here, "s3cr3t-wrong", f"{USER}:") == []
    # The right one, once; then everything arrives.
    assert main(["sync", f"tracking.uri=http://{USER}:{PASSWORD}@{guarded}"]) == 0
    runs = record.all_runs("outputs")
    assert [found(server, run).info.status for run in runs] == ["FINISHED"] * 2
    assert files_with(here, "s3cr3t") == []


@pytest.mark.proof
def test_without_the_password_it_is_said_what_to_do(guarded, here, capfd, monkeypatch, tmp_path):
    assert main([*QUICK, f"tracking.uri=http://***@{guarded}"]) == 0
    shown = capfd.readouterr().err
    assert "type tracking.uri= with it once more" in shown
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cr3t/pass")
    assert main(["sync"]) == 0
    assert files_with(tmp_path, "s3cr3t") == []


@pytest.mark.proof
def test_a_home_that_cannot_be_written_is_said_and_delivers(
    guarded, server, here, monkeypatch, tmp_path, capfd
):
    (tmp_path / "state").write_text("")
    assert main([*QUICK, f"tracking.uri=http://{USER}:{PASSWORD}@{guarded}"]) == 0
    assert "cannot be kept" in capfd.readouterr().err
    [run] = record.all_runs("outputs")
    assert found(server, run).info.status == "FINISHED"


@pytest.mark.parametrize("uri", ["postgres://me:secret@h/d", "http://me:secret@h:1/#/x"])
def test_what_cannot_be_an_address_is_not_kept(uri, here, tmp_path, capsys):
    assert main([f"tracking.uri={uri}"]) == 2
    assert capsys.readouterr().err.startswith("error: tracking.uri=")
    assert not files_with(tmp_path, "secret")
