"""What a test run inherits from whoever starts it, made the same everywhere, for it and for all that it starts.

A test that needs something else, such as another locale or a variable of its own, sets it itself.
"""

import contextlib
import locale
import os
import re
import signal
import sys
import tempfile
import threading

#: Variables that would lead a program elsewhere, set up a simulator, or change what is printed and how.
UNWANTED = re.compile(
    r"DPS_SIMULATOR(_.*)?|DPS_WORKSPACE|(AZURE|IOTHUB|PROVISIONING|JUPYTER|IPYTHON|NBVAL|PAPERMILL|LC)_.*"
    r"|IPYTHONDIR|LANG|LANGUAGE"
    r"|((HTTP|HTTPS|ALL|NO|MQTT|WS|WSS|FTP)_PROXY)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|SSL_CERT_(FILE|DIR)|SSLKEYLOGFILE"
    r"|PYTEST_(ADDOPTS|PLUGINS)|GIT_.*|MAKEFLAGS|MFLAGS|MAKELEVEL|MAKEOVERRIDES"
    r"|NETRC|NODE_(OPTIONS|EXTRA_CA_CERTS|TLS_REJECT_UNAUTHORIZED)|OPENSSL_CONF"
    r"|COLUMNS|LINES|TERM|NO_COLOR|FORCE_COLOR|CLICOLOR(_FORCE)?|PY_COLORS|PAGER|MANPAGER|BROWSER"
    r"|PYTHON(WARNINGS|UTF8|IOENCODING|LEGACYWINDOWS.*|OPTIMIZE|INSPECT|STARTUP|DEVMODE|ASYNCIODEBUG|VERBOSE|PROFILEIMPORTTIME"
    r"|BREAKPOINT|COERCECLOCALE|DEBUG|UNBUFFERED|SAFEPATH|DONTWRITEBYTECODE|INTMAXSTRDIGITS)",
    re.IGNORECASE,
)
#: The longest folder for temporary files that leaves room for a socket in a folder in it; see ``sun_path`` in unix(7).
LONGEST_TEMPORARY = 48
#: As many files as a test may have open, where the system lets us.
OPEN_FILES = 4_096


def make_known():
    """Change what this process inherited: its variables, its locale, its umask, how many files it may have open.

    What it inherited of signals is kept, so that a run under ``nohup`` outlives its terminal: see :func:`signals`.
    """
    for name in list(os.environ):
        if UNWANTED.fullmatch(name):
            del os.environ[name]
    # without compiled files, each of some hundred programs that the tests start would compile everything anew
    sys.dont_write_bytecode = False
    os.environ["LANG"] = "C.UTF-8"
    # for what this process itself reads and prints: its children find the variable
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    if sys.__stdin__ is None:
        # closed; pytest puts something in its place that asks for this
        sys.__stdin__ = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    os.umask(0o022)
    # whoever ignores the end of children is not told how they ended
    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if len(tempfile.gettempdir()) > LONGEST_TEMPORARY and os.path.isdir("/tmp"):  # noqa: S108, PTH112
        os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"  # noqa: S108
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
            most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextlib.contextmanager
def signals():
    """Let programs that are started meanwhile find every signal as a program started by hand does.

    A signal that this process ignores is handled by doing nothing: that comes to the same here, and a program that is
    started does not inherit it. One that is blocked is let through.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    ignored = {}
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_IGN:
            ignored[number] = signal.signal(number, _do_nothing)
    try:
        yield
    finally:
        for number, handler in ignored.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _do_nothing(_number, _frame):
    pass
