"""Runs inside an environment that has azure-cli: says which command lines its own parser refuses, and asks nobody.

Reads command lines from standard input, one a line, and writes a JSON object: each line with the reason of the refusal,
empty for one that was taken.
"""

import contextlib
import io
import json
import shlex
import socket
import sys


class Taken(BaseException):
    """The parser has taken a command line. Nothing beyond it is wanted."""


def refusal(line):
    from azure.cli.core import get_default_cli
    from azure.cli.core.commands import AzCliCommandInvoker

    def stop(*_):
        raise Taken

    # what comes after parsing: questions to the person, then to Azure
    AzCliCommandInvoker.resolve_confirmation = stop
    AzCliCommandInvoker._validation = stop
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = get_default_cli().invoke(shlex.split(line)[1:])
    except Taken:
        return ""
    except SystemExit as end:
        code = end.code
    return f"exit code {code}: {said.getvalue().strip()[:500]}"


def no_network(*_):
    raise OSError("there is no network in this test")


socket.socket.connect = no_network
sys.stdout.write(json.dumps({line: refusal(line) for line in sys.stdin.read().splitlines()}))
