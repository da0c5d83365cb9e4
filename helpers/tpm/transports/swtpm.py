"""swtpm: a complete TPM 2.0 in software, as a program beside this one.

It needs no rights and no fixed port, keeps its state in a folder, and serves one client at a time.

Source: the manual page ``swtpm(8)``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from dps_simulator.rules import make_folders
from helpers.tpm.errors import TpmConnectionError, TpmError, TpmUnavailableError

from .port_pair import HOST, bind_port_pair
from .transport import SocketTransport, Transport, check_socket_path, connect_tcp, connect_unix

TIMEOUT = 10.0

INSTALL = (
    "Install it (Debian and Ubuntu: sudo apt-get install --no-install-recommends swtpm, macOS: brew install swtpm), "
    "or use the embedded TPM, which needs nothing."
)

#: TPM2_GetTestResult: changes nothing, and is answered as soon as the TPM is there.
_PROBE = bytes.fromhex("8001 0000000a 0000017c")
#: As after power-on and TPM2_Startup, so that nothing but commands is needed.
_STARTED = ["--flags", "not-need-init,startup-clear"]
_PORT_ATTEMPTS = 5
_POLL_PAUSE = 0.005
#: What swtpm may need to end once it was told to, and to be gone after its connection broke.
_END_TIMEOUT = 5.0
#: Exit statuses of a shell from here on mean a signal.
_SIGNALLED = 128
_LOG_LINES = 3
_LOG_SIZE = 4_096
#: Runs a program and ends it when standard input ends, which happens too when the process that holds the other end is
#: killed. Its own exit status is that of the program.
_GUARD = """\
exec 3<&0 </dev/null
"$@" 3<&- & program=$!
{ read -r _ <&3; kill "$program"; } 2>/dev/null & watch=$!
exec 3<&-
wait "$program"; status=$?
kill "$watch" 2>/dev/null
exit "$status"
"""


class _PortTakenError(TpmUnavailableError):
    """Somebody was faster with the ports that were free a moment ago."""


class _Transport:
    """The way to swtpm, which knows why it does not answer any more. May be used by several threads."""

    def __init__(self, program: Swtpm, connection: SocketTransport, *, is_only_one: bool) -> None:
        self._program = program
        self._connection = connection
        self._is_only_one = is_only_one
        self._closed = False
        self._lock = threading.Lock()

    def exchange(self, command: bytes) -> bytes:
        """Send a command and give the response."""
        with self._lock:
            if self._closed or self._program.is_closed:
                raise TpmConnectionError("This TPM was closed. Open it again.")
            try:
                return self._connection.exchange(command)
            except TpmConnectionError as error:
                if isinstance(error.__cause__, TimeoutError):
                    # a late answer would be taken for that to the next command
                    self._closed = True
                    raise
                if not (ending := self._program.ending()):
                    raise
                raise TpmConnectionError(ending) from error

    def close(self) -> None:
        """Let the TPM go; swtpm ends with its only connection."""
        self._closed = True
        if self._is_only_one:
            self._program.close()
        else:
            self._connection.close()


class Swtpm:
    """A running swtpm, which ends with this process, however that ends.

    Arguments:
        folder: where it keeps its state: one folder is one TPM. Made when it is missing.
        ports: whether to listen on two ports of this machine for other programs (commands on ``port``, swtpm's control
            channel on the next one) instead of a socket of our own.
        timeout: how many seconds to wait for its start, and for every answer.

    Raises:
        TpmUnavailableError: it does not start; says why and what to do.
    """

    def __init__(self, folder: Path, *, ports: bool = False, timeout: float = TIMEOUT) -> None:
        self._folder = Path(folder).absolute()
        self._timeout = timeout
        self._port = 0
        self._only_transport: _Transport | None = None
        binary = shutil.which("swtpm")
        if binary is None:
            raise TpmUnavailableError(f"swtpm is not installed. {INSTALL}")
        _make_private(self._folder)
        with ExitStack() as stack:
            # without a name: nothing of it stays
            self._log: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            if ports:
                self._start_on_ports(binary, stack)
            else:
                self._start_on_socket(binary, stack)
            self._end = weakref.finalize(self, stack.pop_all().close)

    @property
    def port(self) -> int:
        """Where commands go; the control channel is on the next port.

        Raises:
            TpmUnavailableError: it was started without ports.
        """
        if not self._port:
            raise TpmUnavailableError("This swtpm has no ports. Start it with Swtpm(folder, ports=True).")
        return self._port

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return not self.is_closed and self._process.poll() is None

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return not self._end.alive

    def transport(self) -> Transport:
        """The way to it.

        Without ports it is the same on every call, may be used by several threads, and closing it ends swtpm. With
        ports it is a new connection on every call, and swtpm serves them one after the other.

        Raises:
            TpmUnavailableError: it runs no more.
        """
        if not self.is_running:
            raise TpmUnavailableError("This TPM was closed. Open it again." if self.is_closed else self.ending())
        if self._only_transport is not None:
            return self._only_transport
        return _Transport(self, connect_tcp(HOST, self._port, self._timeout), is_only_one=False)

    def close(self) -> None:
        """End it; its state stays in the folder. Closing twice is fine."""
        self._end()

    def ending(self) -> str:
        """How it ended, as a sentence for the user; empty while it runs."""
        try:
            # its connections break a moment before it is gone
            code = self._process.wait(min(_END_TIMEOUT, self._timeout))
        except subprocess.TimeoutExpired:
            return ""
        return f"swtpm ended in the middle of the work ({self._reason(code)}). Open the TPM again: its keys are kept."

    def __enter__(self) -> Swtpm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- starting -----------------------------------------------------------------------------------------------

    def _start_on_socket(self, binary: str, stack: ExitStack) -> None:
        with _temporary_folder() as short:
            path = short / "tpm"
            try:
                check_socket_path(path)
            except TpmUnavailableError as error:
                raise TpmUnavailableError(
                    f"{error} It is the folder for temporary files: set TMPDIR to a shorter one, for example /tmp."
                ) from error
            # one connection for its whole life, with which it ends: so it cannot outlive us
            self._run([binary], ["--terminate", "--server", f"type=unixio,path={path},mode=0600"], short / "pid", stack)
            connection = self._until_it_answers(lambda: connect_unix(path, self._timeout), short / "pid")
        stack.callback(connection.close)
        self._only_transport = _Transport(self, connection, is_only_one=True)

    def _start_on_ports(self, binary: str, stack: ExitStack) -> None:
        for _ in range(_PORT_ATTEMPTS):
            with ExitStack() as attempt:
                try:
                    self._start_on_port_pair(binary, attempt)
                except _PortTakenError:
                    continue
                stack.push(attempt.pop_all())
                return
        raise TpmUnavailableError(
            f"swtpm found its two ports taken {_PORT_ATTEMPTS} times, although they were free a moment before. "
            "Try again."
        )

    def _start_on_port_pair(self, binary: str, stack: ExitStack) -> None:
        server, control = bind_port_pair()
        port = server.getsockname()[1]
        server.close()
        control.close()
        arguments = ["--server", f"type=tcp,port={port},bindaddr={HOST}"]
        arguments += ["--ctrl", f"type=tcp,port={port + 1},bindaddr={HOST}"]
        with _temporary_folder() as short:
            # other programs come and go here, so something else has to end it when we are killed
            self._run(["/bin/sh", "-c", _GUARD, "guard", binary], arguments, short / "pid", stack)
            self._until_it_answers(lambda: connect_tcp(HOST, port, self._timeout), short / "pid").close()
        self._port = port

    def _run(self, program: list[str], arguments: list[str], pid_file: Path, stack: ExitStack) -> None:
        is_guarded = len(program) > 1
        pid = ["--pid", f"file={pid_file}"]
        try:
            self._process = subprocess.Popen(
                # the folder is named by where it runs: a comma in its name would be taken for the next option
                [*program, "socket", "--tpm2", "--tpmstate", "dir=.,mode=0600", *_STARTED, *arguments, *pid],
                cwd=self._folder,
                stdin=subprocess.PIPE if is_guarded else subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                umask=0o077,
                # an interrupt of the notebook goes to a whole group of processes, and is not meant for the TPM
                start_new_session=True,
            )
        except OSError as error:
            raise TpmUnavailableError(f"swtpm cannot be run ({error.strerror or error}). {INSTALL}") from error
        stack.callback(_stop, self._process)

    def _until_it_answers(self, connect: Callable[[], SocketTransport], pid_file: Path) -> SocketTransport:
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            if (code := self._process.poll()) is not None:
                raise self._failed_start(code)
            # written when it listens; before, somebody else may listen on the same port
            if pid_file.exists():
                # it may be about to end all the same
                with suppress(TpmError):
                    connection = connect()
                    connection.exchange(_PROBE)
                    return connection
            time.sleep(_POLL_PAUSE)
        raise TpmUnavailableError(f"swtpm did not start within {self._timeout:g} seconds ({self._log_text()}).")

    def _failed_start(self, code: int) -> TpmUnavailableError:
        log = self._log_text()
        if "lockfile" in log and "lock access" in log:
            return TpmUnavailableError(
                f"The TPM in {self._folder} is in use already. Close it in the other notebook (or restart its kernel), "
                "or in the earlier cell that opened it; or choose another folder, which is another TPM."
            )
        kind = _PortTakenError if "Address already in use" in log else TpmUnavailableError
        return kind(
            f"swtpm ended at its start ({self._reason(code)}). Its state is in {self._folder}; "
            "in another folder it begins as a new TPM."
        )

    # --- how it ended -------------------------------------------------------------------------------------------

    def _reason(self, code: int) -> str:
        if self._log.closed:
            # by us: whether it ended by itself, as its client had gone, or by our signal, is chance
            return f"it was closed; {self._log_text()}"
        number = -code if code < 0 else code - _SIGNALLED  # the guard reports a signal as a shell does
        if number > 0:
            return f"killed by signal {number}"
        return f"exit status {code}: {self._log_text()}"

    def _log_text(self) -> str:
        """The last lines of its log."""
        try:
            size = os.fstat(self._log.fileno()).st_size
            # not read(): that would move the place where swtpm goes on writing
            text = os.pread(self._log.fileno(), _LOG_SIZE, max(0, size - _LOG_SIZE)).decode("utf-8", "replace")
        except ValueError:  # closed in the meantime
            text = ""
        lines = [line.strip().removeprefix("swtpm: ") for line in text.splitlines() if line.strip()]
        return "; ".join(lines[-_LOG_LINES:]) or "it said nothing"


def _make_private(folder: Path) -> None:
    try:
        make_folders(folder)
    except OSError as error:
        raise TpmUnavailableError(
            f"The folder {folder} for the state of swtpm cannot be made ({error.strerror or error}). Choose another."
        ) from error


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder for the start only, which only we can enter."""
    try:
        folder = tempfile.mkdtemp(prefix="tpm-")
    except OSError as error:
        raise TpmUnavailableError(
            f"swtpm needs a folder for temporary files, and none can be made ({error.strerror or error}). Set TMPDIR."
        ) from error
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End swtpm, or its guard and with it swtpm."""
    if process.stdin is not None:
        process.stdin.close()
    else:
        process.terminate()
    try:
        process.wait(_END_TIMEOUT)
    except subprocess.TimeoutExpired:
        # its own session has nobody else in it
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
