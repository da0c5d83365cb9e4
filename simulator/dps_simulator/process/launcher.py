"""A simulator in the background: one per state folder, found when it runs, started when it does not.

One that runs other code than the files beside this one, because these changed since it began, is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from dps_simulator.common.private_files import FolderError, FolderLock, check_owner, open_own, private_folder

from . import fingerprint, program, replacement
from .address import FILE_NAME, RunningSimulator, read
from .log import LIMIT as LOG_LIMIT

LOG_NAME = "simulator.log"
#: Held by the simulator while it runs.
LOCK_NAME = "simulator.lock"
#: Held by whoever starts one, so that two kernels starting at once get the same simulator.
_LAUNCH_LOCK_NAME = "launch.lock"
#: Everything that a simulator and whoever starts it write into a state folder.
_FILES = (
    *("simulator.sqlite3", "simulator.sqlite3-wal", "simulator.sqlite3-shm", FILE_NAME, replacement.FILE_NAME),
    *("authority.pem", "authority.der", "authority.key", "server.pem", "server.key"),
    *(LOG_NAME, LOCK_NAME, _LAUNCH_LOCK_NAME, "probe"),
)
#: Seconds until a simulator that says nothing is taken for one that hangs.
_HEALTH_TIMEOUT = 10.0
#: A background simulator that nobody talked to for so many seconds stops by itself.
IDLE_STOP = 3_600
#: Settings that are paths. The simulator runs in another working directory, so it gets them in full.
_PATHS = ("DPS_SIMULATOR_TLS_CERTIFICATE", "DPS_SIMULATOR_TLS_KEY", "DPS_SIMULATOR_TLS_AUTHORITY")

_DETACHED: dict[str, Any]
if sys.platform == "win32":
    _DETACHED = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
else:
    _DETACHED = {"start_new_session": True}

# Those that this process started and that still run, by process number.
_children: dict[int, subprocess.Popen[bytes]] = {}


class LaunchError(Exception):
    """The background simulator could not be started or stopped. The text says why and what to do."""


class TokenError(LaunchError):
    """The simulator does not know the management token: it was started anew, or replaced, since that was read."""


class _Socket(ssl.SSLSocket):
    """A TLS socket that is closed when the other side has gone before the handshake, where ``ssl`` leaves it open.

    Before it begins, ``SSLSocket`` asks who the other side is and, if nobody is, tries to read; other errors than those
    of a socket that is not connected it lets through, after it has taken the file descriptor.
    """

    def getpeername(self) -> Any:
        """The other side's address."""
        try:
            return super().getpeername()
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read what is there."""
        try:
            return super().recv(buflen, flags)
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.EINVAL):
                self.close()
            raise


class _Connection(http.client.HTTPSConnection):
    """HTTPS to the simulator's address, whose certificate is checked for the name of one of its services.

    A certificate of somebody's own need not stand for an IP address.
    """

    def __init__(self, running: RunningSimulator, timeout: float) -> None:
        self._settings = ssl.create_default_context(cafile=str(running.certificate_authority_file))
        # the file may hold the server's own certificate and not its root
        self._settings.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._settings.sslsocket_class = _Socket
        self._name = running.provisioning_host
        super().__init__(running.address, running.tls_port, context=self._settings, timeout=timeout)

    def connect(self) -> None:
        """Open the connection."""
        plain = socket.create_connection((self.host, self.port), self.timeout)
        try:
            self.sock = self._settings.wrap_socket(plain, server_hostname=self._name)
        except BaseException:
            plain.close()
            raise


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
        TokenError: the token is not that of the simulator that answers.
        LaunchError: the answer is another error.
    """
    connection = _Connection(running, timeout)
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
        kind = TokenError if answer.status == 401 else LaunchError
        raise kind(f"The simulator refused {method} {path}: {content.decode('utf-8', 'replace')[:500]}")
    return json.loads(content) if content else None


@contextlib.contextmanager
def _as_launch_error() -> Iterator[None]:
    try:
        yield
    except FolderError as error:
        raise LaunchError(str(error)) from error


def find(state: Path) -> RunningSimulator | None:
    """The simulator that runs on this state folder, or ``None``."""
    running = read(state)
    if running is None:
        return None
    try:
        # refused at once where nobody is; who is slow to answer is not gone
        health = manage(running, "GET", "/health", timeout=_HEALTH_TIMEOUT)
    except (OSError, LaunchError, ValueError):
        return None
    if not isinstance(health, dict) or health.get("status") != "ready":
        return None
    # another simulator may have got the port and, on a copied folder, even the same certificate authority
    return running if health.get("processId") == running.process_id else None


def ensure_running(
    state: Path,
    *,
    settings: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    say: Callable[[str], object] | None = None,
) -> RunningSimulator:
    """Find the simulator of this state folder, or start one in the background.

    It runs in a session of its own without our input and output, so interrupting or ending this process does not
    hurt it. What it logs goes to ``simulator.log`` in the state folder.

    One that was started so and runs other code than the files beside this one is stopped, which keeps all that it
    knows, and another takes its place. One that somebody started by hand is left alone, and so is one of another
    checkout that has replaced this one's before.

    Arguments:
        state: the state folder; made when missing.
        settings: environment variables for it, such as ``{"DPS_SIMULATOR_PACE": "instant"}``. One that runs already
            keeps its own.
        timeout: seconds to wait until it is ready, and before that until one that is to be replaced has gone.
        say: is told in one line when another took the place of the one that ran.

    Raises:
        LaunchError: it did not start, or one of other code runs that is not replaced. The text says why and what to
            do.
    """
    # what stands in the folder of somebody else could lead to their simulator
    with _as_launch_error(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        check_owner(state)
    first, code, running = fingerprint.loaded(), replacement.here(), find(state)
    if say is not None and first != code.fingerprint:
        say("The code of the simulator changed since this program began to use it. Restart this one (the kernel), too.")
    if running is not None and running.code == code.fingerprint:
        return running
    deadline = time.monotonic() + timeout
    try:
        private_folder(state)
        lock = FolderLock(state / _LAUNCH_LOCK_NAME)
        while not lock.acquire():
            if time.monotonic() > deadline:
                raise LaunchError(f"Another process has been starting a simulator in {state} for {timeout:g} seconds.")
            time.sleep(0.05)
        try:
            # somebody else may have started or replaced it while we waited for the lock
            running = _settled(state, deadline)
            if running is None:
                return _start(state, settings or {}, deadline)
            if running.code == code.fingerprint:
                return running
            return _replace(state, running, code, settings or {}, timeout, say)
        finally:
            lock.release()
    except FolderError as error:
        raise LaunchError(str(error)) from error


def _replace(
    state: Path,
    running: RunningSimulator,
    code: replacement.Code,
    settings: Mapping[str, str],
    timeout: float,
    say: Callable[[str], object] | None,
) -> RunningSimulator:
    """Stop the simulator that runs and start one of our code. The caller holds the launch lock."""
    other = replacement.of(running)
    whose = f"the code in {other.folder}" if other.folder not in ("", code.folder) else "the code of another version"
    way_out = program.command_line("stop", "--state", state)
    if not replacement.is_background(running, state / LOG_NAME):
        raise LaunchError(
            f"The simulator that uses {state} (process {running.process_id}) runs {whose}, and somebody started it by "
            f"hand, so it is left alone. End it where it was started, or with `{way_out}`; then do this again."
        )
    replaced = replacement.replaced_by(state, running)
    if other.folder != code.folder and code in replaced:
        raise LaunchError(
            f"The simulator that uses {state} (process {running.process_id}) runs {whose}, which took the place of "
            f"ours. Two checkouts cannot share it: set DPS_WORKSPACE to another folder in one of them, or stop it with "
            f"`{way_out}` and do this again."
        )
    _check_format(state)
    stop(state, timeout=timeout)
    new = _start(state, settings, time.monotonic() + timeout)
    replacement.note(state, new, [*(each for each in replaced if each != other), other])
    if say is not None:
        say(f"The simulator in the background ran {whose}. It was replaced; enrollments, devices and keys are kept.")
    return new


def _check_format(state: Path) -> None:
    """See that we can open what a running simulator keeps, before it is stopped for us."""
    # whoever only looks for a running simulator shall not pay for this
    from .store import check  # noqa: PLC0415
    from .store_errors import StoreError  # noqa: PLC0415

    try:
        check(state)
    except StoreError as error:
        raise LaunchError(str(error)) from error


def stop(state: Path, *, timeout: float = 30.0) -> bool:
    """Stop the simulator of this state folder and wait until it has gone; tells whether one was running.

    Raises:
        LaunchError: it did not stop, or does not answer.
    """
    if not state.is_dir():
        return False
    deadline = time.monotonic() + timeout
    try:
        running = _settled(state, deadline)
        if running is None:
            return False
        # it may go between the two calls
        with contextlib.suppress(OSError):
            manage(running, "POST", "/stop")
        if not _wait_until_gone(state, running.process_id, deadline):
            # it told its own number a moment ago, so the number is not somebody else's
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.process_id, signal.SIGTERM)
            if not _wait_until_gone(state, running.process_id, time.monotonic() + timeout):
                raise LaunchError(f"The simulator (process {running.process_id}) did not stop; end that process.")
    except FolderError as error:
        raise LaunchError(str(error)) from error
    return True


def remove(state: Path) -> bool:
    """Stop the simulator of this state folder and delete what it kept there; tells whether one was running.

    Files of others in the folder stay, and so does the folder then.

    Raises:
        LaunchError: it did not stop, or does not answer.
    """
    stopped = stop(state)
    for name in _FILES:
        for file in (state / name, *state.glob(f".{name}-*")):
            with contextlib.suppress(OSError):
                file.unlink()
    with contextlib.suppress(OSError):
        state.rmdir()
    return stopped


def _settled(state: Path, deadline: float) -> RunningSimulator | None:
    """The simulator once it answers, ``None`` once none uses the folder; one may just be starting or stopping.

    Raises:
        LaunchError: one uses the folder but does not answer.
    """
    lock = FolderLock(state / LOCK_NAME)
    while True:
        running = find(state)
        if running is not None or not lock.is_taken():
            return running
        if time.monotonic() > deadline:
            raise LaunchError(
                f"A simulator that does not answer (process {lock.holder() or 'unknown'}) uses {state}. "
                "End that process, or choose another state folder."
            )
        time.sleep(0.05)


def _wait_until_gone(state: Path, process_id: int, deadline: float) -> bool:
    lock = FolderLock(state / LOCK_NAME)
    while lock.is_taken():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    child = _children.get(process_id)
    if child is not None:
        # it let go of everything; what is left is the interpreter's own end
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(deadline - time.monotonic(), 1.0))
    return True


def _start(state: Path, settings: Mapping[str, str], deadline: float) -> RunningSimulator:
    root = program.PACKAGE_FOLDER.parent
    environment = {"DPS_SIMULATOR_IDLE_STOP": str(IDLE_STOP), **os.environ, **settings}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), environment.get("PYTHONPATH", "")]))
    for name in _PATHS:
        if environment.get(name):
            environment[name] = str(Path(environment[name]).expanduser().absolute())
    (state / FILE_NAME).unlink(missing_ok=True)
    with _open_log(state / LOG_NAME) as log:
        begin = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", program.PACKAGE, "serve", "--json", "--state", str(state.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=root,
            env=environment,
            **_DETACHED,
        )
    _watch(child)
    while time.monotonic() < deadline:
        running = read(state)
        if running is not None and running.process_id == child.pid and find(state) is not None:
            return running
        if child.poll() is not None:
            raise LaunchError(f"The simulator did not start. {_last_words(state / LOG_NAME, begin)}")
        time.sleep(0.02)
    child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    raise LaunchError(f"The simulator was not ready in time. {_last_words(state / LOG_NAME, begin)}")


def _watch(child: subprocess.Popen[bytes]) -> None:
    """Take note of the end of a child, whenever it comes, so that it does not stay as a zombie.

    The thread also keeps the child known until the very end of this process, where a forgotten one would be complained
    about. It waits in the system and costs nothing.
    """

    def wait() -> None:
        child.wait()
        _children.pop(child.pid, None)

    _children[child.pid] = child
    threading.Thread(target=wait, name="dps-simulator-watch", daemon=True).start()


def _open_log(path: Path) -> IO[bytes]:
    """The log, opened for its owner only, at its end; begun anew when it has become long."""
    try:
        log = os.fdopen(open_own(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), "ab")
        if os.fstat(log.fileno()).st_size > LOG_LIMIT:
            log.truncate(0)
    except OSError as error:
        raise FolderError(f"The log {path} cannot be written ({error.strerror or error}). Remove it.") from error
    log.seek(0, os.SEEK_END)
    return log


def _last_words(log: Path, begin: int) -> str:
    """The last line that was written behind a position."""
    try:
        content = log.read_bytes()[begin:]
    except OSError:
        content = b""
    lines = content.decode("utf-8", "replace").strip().splitlines()
    return f"Its log {log} ends with: {lines[-1]}" if lines else f"Its log {log} has nothing about it."
