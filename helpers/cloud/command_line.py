"""Commands that are shown before they run, and that run only when somebody said so.

Whoever learns sees the very command, and may type it in a terminal of their own. What a command answers is shown where
the command asks for one value; of everything else, Azure answers with pages in which keys may stand.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from helpers import checks
from helpers.credentials import Secret
from helpers.masking import MaskedError, masked

#: Who made a resource group: a tag on everything that the notebook creates. ``key=value``, as the command line has it.
TAG = "course=azure-dps-notebooks"
#: Seconds for one command of Azure; a hub takes two or three minutes to be made, and a group as long to be deleted.
COMMAND_SECONDS = 1_800.0
#: What ``az`` ends with when what was asked for is not there. Source: docs of azure-cli, error handling guidelines.
_NOT_FOUND = 3
#: Seconds from which on it is told how long a command took.
_QUICK = 10
_ROOT = Path(__file__).resolve().parents[2]

_INSTALL = (
    "The program az is not on this machine. Install it (https://learn.microsoft.com/cli/azure/install-azure-cli), open "
    "a new terminal, restart the kernel, and run this cell again."
)
#: What Azure says, and what to do about it.
_REMEDIES: tuple[tuple[str, str], ...] = (
    (r"az login|AADSTS|refresh token has expired", "Log in: type  az login  in a terminal, then run this cell again."),
    (
        r"MissingSubscriptionRegistration|not registered to use namespace",
        "Run the cell with  az provider register  again: your subscription does not know IoT services yet.",
    ),
    (
        r"Max number of Iot Hubs exceeded for sku = Free|IH400019",
        "Your subscription has its one free hub already. Set tier to 'S1' (it costs money), or use the one you have.",
    ),
    (
        r"name .{0,80}(?:not available|already (?:taken|exists|in use))|NameNotAvailable|NameUnavailable",
        "Somebody in the world has a service of this name. Set prefix to something of your own.",
    ),
    (
        r"LocationNotAvailable|not available (?:in|for) (?:the )?(?:location|region)|NoRegisteredProviderFound",
        "This region does not have the service. Set region to another one; az account list-locations lists them.",
    ),
    (
        r"AuthorizationFailed|does not have authorization",
        "Your account may not do this in this subscription. Ask its owner for the role Contributor.",
    ),
    (
        r"RequestDisallowedByPolicy",
        "A rule of your organisation forbids this. The message names it; often a region or a tag is asked for.",
    ),
)


class AzureCommandError(MaskedError):
    """A command of Azure failed; the text says what it answered, without keys, and what to do where that is known."""


class CommandLine:
    """Shows commands, and runs them if it was made so.

    Arguments:
        run: whether commands run. They are only shown otherwise.

    Attributes:
        runs: what it was made with.
        shown: every command line that was shown, in order.
    """

    def __init__(self, *, run: bool) -> None:
        self.runs = run
        self.shown: list[str] = []

    def az(self, command: str) -> None:
        """Show a command of the Azure command line, run it if commands run, and show how it went.

        Arguments:
            command: what stands behind ``az``, with quotation marks as in a shell.

        Raises:
            AzureCommandError: it failed, or there is no ``az``.
        """
        self.ask(command)

    def ask(self, command: str) -> str:
        """As :meth:`az`, for a command whose answer is needed.

        Returns:
            What it answered; empty when it did not run.
        """
        self._show(f"az {command}")
        if not self.runs:
            return ""
        answer = self._ask(shlex.split(command))
        _say(f"  {masked(answer)}" if _is_value(answer) else "  done")
        return answer

    def secret(self, command: str) -> Secret:
        """As :meth:`ask`, for a command that answers with a key: nothing but its last four characters is shown."""
        self._show(f"az {command}")
        answer = Secret(self._ask(shlex.split(command)) if self.runs else "")
        if self.runs:
            _say(f"  {answer}")
        return answer

    def finds(self, command: str) -> bool:
        """As :meth:`az`, for a command that shows one thing: whether that is there.

        Returns:
            Whether Azure showed it; ``False`` when the command did not run.

        Raises:
            AzureCommandError: Azure said something else than that it is not there.
        """
        self._show(f"az {command}")
        if not self.runs:
            return False
        code, _, said = self._run(["az", *shlex.split(command)])
        missing = code == _NOT_FOUND or f"{HTTPStatus.NOT_FOUND}" in said or re.search(r"not ?found", said, re.I)
        if code and not missing:
            raise AzureCommandError(_failure(said))
        _say("  not found: it is gone" if code else "  it is still there")
        return code == 0

    def in_terminal(self, command: str) -> None:
        """Show a command that somebody has to type in a terminal, because it asks questions or opens a browser."""
        self.shown.append(f"az {command}")
        _say(f"az {command}\n  to be typed in a terminal")

    def python(self, arguments: str) -> int:
        """Show a command of this project, run it in the folder of the project if commands run, and show what it says.

        Returns:
            Its exit code; 0 when it did not run.
        """
        self._show(f"python {arguments}")
        if not self.runs:
            return 0
        with subprocess.Popen(
            [sys.executable, *shlex.split(arguments)],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                _say(f"  {masked(line.rstrip())}")
        return process.returncode

    def summary(self) -> str:
        """How many commands were shown, and whether they ran, as a sentence."""
        many = f"{len(self.shown)} commands were shown"
        return f"{many} and run." if self.runs else f"{many}, none was run: nothing was made on Azure, nothing costs."

    def step(self, name: str, passed: bool, *, hint: str) -> None:
        """Check what Azure answered, as :func:`helpers.checks.step`; where no command ran, nothing is known.

        Arguments:
            name: what should be so, as a sentence.
            passed: whether it is.
            hint: what to do otherwise.

        Raises:
            CheckFailed: it is not so.
        """
        if self.runs:
            checks.step(name, passed, hint=hint)
        else:
            _say(f"○ not checked, as no command ran: {name}")

    def untagged(self) -> list[str]:
        """The shown commands that create something that could carry the tag, and do not."""
        creating = [line for line in self.shown if re.match(r"az (?:group|iot dps|iot hub) create\b", line)]
        return [line for line in creating if f"--tags {TAG}" not in line]

    def _show(self, line: str) -> None:
        self.shown.append(line)
        _say(line if self.runs else f"{line}\n  not run")

    def _ask(self, arguments: Sequence[str]) -> str:
        began = time.monotonic()
        code, answer, said = self._run(["az", *arguments])
        if code:
            raise AzureCommandError(_failure(said))
        if (seconds := time.monotonic() - began) > _QUICK:
            _say(f"  took {seconds:.0f} s")
        return answer.strip()

    def _run(self, command: Sequence[str]) -> tuple[int, str, str]:
        # on Windows the program is a script, which only its full name starts
        program = shutil.which(command[0])
        if program is None:
            raise AzureCommandError(_INSTALL)
        try:
            done = subprocess.run(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise AzureCommandError(
                f"No answer within {COMMAND_SECONDS / 60:.0f} minutes. Azure may still be at it: look in the portal."
            ) from None
        return done.returncode, done.stdout, done.stderr


def is_ours(commands: CommandLine, group: str) -> bool:
    """Whether a resource group may be filled and deleted: it is not there yet, or this course made it.

    Arguments:
        commands: shows the questions, and asks them if commands run.
        group: name of the resource group.

    Returns:
        ``True`` as well when commands do not run: then nothing is made or deleted either.
    """
    if commands.ask(f"group exists --name {group}") != "true":
        return True
    key, _, value = TAG.partition("=")
    return commands.ask(f"group show --name {group} --query tags.{key} --output tsv") == value


def _is_value(answer: str) -> bool:
    """Whether an answer is one value, and not a document."""
    if "\n" in answer or not answer:
        return False
    try:
        return not isinstance(json.loads(answer), dict | list)
    except ValueError:
        return True


def _failure(said: str) -> str:
    """What Azure said, short, with a remedy."""
    lines = [line for line in masked(said).splitlines() if line.strip() and not line.startswith("WARNING")]
    remedy = next((text for pattern, text in _REMEDIES if re.search(pattern, said, re.IGNORECASE)), "")
    text = "Azure refused:\n  " + "\n  ".join(line[:300] for line in lines[:6] or ["(it did not say why)"])
    return f"{text}\n{remedy}" if remedy else text


def _say(text: str) -> None:
    print(text)  # noqa: T201  (the notebook's output)
