"""A simulator in the background: one per state folder, found when it runs, started when it does not."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .private_files import FolderError, FolderLock, private_folder
from .running import FILE_NAME, HubEndpoint, RunningSimulator, read

__all__ = ["HubEndpoint", "LaunchError", "RunningSimulator", "ensure_running", "find", "manage", "stop"]

LOG_NAME = "simulator.log"
#: Held by the simulator while it runs.
LOCK_NAME = "simulator.lock"
#: Held by whoever starts one, so that two kernels starting at once get the same simulator.
_LAUNCH_LOCK_NAME = "launch.lock"
_LOG_LIMIT = 1_000_000
#: A background simulator that nobody talked to for so many seconds stops by itself.
IDLE_STOP = 3_600

_DETACHED: dict[str, Any]
if sys.platform == "win32":
    _DETACHED = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
else:
    _DETACHED = {"start_new_session": True}

# Kept so that finished children are reaped, and running ones are not reported as forgotten.
_children: list[subprocess.Popen[bytes]] = []


class LaunchError(Exception):
    """The background simulator could not be started or stopped. The text says why and what to do."""


def manage(running: RunningSimulator, method: str, path: str, body: Any | None = None, *, timeout: float = 10.0) -> Any:
    """Call the management API.

    Arguments:
        running: the simulator.
        method: HTTP method.
        path: below ``/simulator``, e.g. ``/pace``.
        body: JSON-ready, ``None`` for none.
        timeout: seconds.

    Raises:
        OSError: nobody answers.
        LaunchError: the answer is an error.
    """
    context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
    connection = http.client.HTTPSConnection("127.0.0.1", running.tls_port, context=context, timeout=timeout)
    try:
        headers = {"Authorization": f"Bearer {running.management_token}", "Content-Type": "application/json"}
        connection.request(method, f"/simulator{path}", None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"no valid answer from the simulator: {error!r}") from error
    finally:
        connection.close()
    if answer.status >= 400:
        raise LaunchError(f"The simulator refused {method} {path}: {content.decode('utf-8', 'replace')[:500]}")
    return json.loads(content) if content else None


def find(state: Path) -> RunningSimulator | None:
    """The simulator that runs on this state folder, or ``None``."""
    running = read(state)
    if running is None:
        return None
    try:
        health = manage(running, "GET", "/health", timeout=3.0)
    except (OSError, LaunchError, ValueError):
        return None
    return running if health.get("processId") == running.process_id else None


def ensure_running(
    state: Path, *, settings: Mapping[str, str] | None = None, timeout: float = 30.0
) -> RunningSimulator:
    """Find the simulator of this state folder, or start one in the background.

    It runs in a session of its own without our input and output, so interrupting or ending this process does not
    hurt it. What it logs goes to ``simulator.log`` in the state folder.

    Arguments:
        state: the state folder; made when missing.
        settings: environment variables for it, such as ``{"DPS_SIMULATOR_PACE": "instant"}``.
        timeout: seconds to wait until it is ready.

    Raises:
        LaunchError: it did not start; the text holds what it said.
    """
    running = find(state)
    if running is not None:
        return running
    try:
        private_folder(state)
    except FolderError as error:
        raise LaunchError(str(error)) from error
    deadline = time.monotonic() + timeout
    lock = FolderLock(state / _LAUNCH_LOCK_NAME)
    while not lock.acquire():
        if time.monotonic() > deadline:
            raise LaunchError(f"Another process has been starting a simulator in {state} for {timeout:g} seconds.")
        time.sleep(0.05)
    try:
        # somebody else may have started it while we waited for the lock
        return find(state) or _start(state, settings or {}, deadline)
    finally:
        lock.release()


def stop(state: Path, *, timeout: float = 10.0) -> bool:
    """Stop the simulator of this state folder and wait until it has gone; tells whether one was running.

    Raises:
        LaunchError: it did not stop.
    """
    running = find(state)
    if running is None:
        return False
    # it may go between the two calls
    with contextlib.suppress(OSError):
        manage(running, "POST", "/stop")
    if not _wait_until_gone(state, timeout):
        try:
            os.kill(running.process_id, signal.SIGTERM)
        except ProcessLookupError:
            return True
        if not _wait_until_gone(state, timeout):
            raise LaunchError(f"The simulator (process {running.process_id}) did not stop; end that process.")
    return True


def _wait_until_gone(state: Path, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    lock = FolderLock(state / LOCK_NAME)
    while not lock.acquire():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    lock.release()
    _reap()
    return True


def _reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


def _start(state: Path, settings: Mapping[str, str], deadline: float) -> RunningSimulator:
    _reap()
    package = __package__ or "helpers.simulator"
    root = Path(__file__).resolve().parents[len(package.split("."))]
    environment = {"DPS_SIMULATOR_IDLE_STOP": str(IDLE_STOP), **os.environ, **settings}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), environment.get("PYTHONPATH", "")]))
    (state / FILE_NAME).unlink(missing_ok=True)
    with _open_log(state / LOG_NAME) as log:
        child = subprocess.Popen(
            [sys.executable, "-m", package, "serve", "--json", "--state", str(state.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=root,
            env=environment,
            **_DETACHED,
        )
    _children.append(child)
    while time.monotonic() < deadline:
        running = read(state)
        if running is not None and running.process_id == child.pid and find(state) is not None:
            return running
        if child.poll() is not None:
            raise LaunchError(f"The simulator did not start. {_last_words(state / LOG_NAME)}")
        time.sleep(0.02)
    child.terminate()
    raise LaunchError(f"The simulator was not ready in time. {_last_words(state / LOG_NAME)}")


def _open_log(path: Path) -> Any:
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        flags |= os.O_TRUNC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"Its log {log} ends with: {lines[-1]}" if lines else f"Its log {log} is empty."
