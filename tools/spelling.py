"""Looks up every word of the notebooks and documents in a dictionary: ``python -m tools.spelling``.

The dictionary is hunspell's for American English, because the names of the field are American (*enrollment*). Whatever
it lacks stands in ``words.txt``: terms, names, and British forms, which the rest of the text uses. That list also says
which forms are *not* wanted, so that one word is not spelt in two ways.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.runner.documents import REPOSITORY, NotebookError, find

WORDS = Path(__file__).with_name("words.txt")
DOCUMENTS = ("*.md", "docs/*.md", "helpers/**/*.md", "benchmarks/*.md")

# What is not prose: code, where links lead, addresses, HTML, paths, names of packages such as azure-iot-device.
_NO_PROSE = re.compile(
    r"^[ \t]*(?P<fence>```|~~~).*?^[ \t]*(?P=fence)[^\n]*$"
    r"|(?P<ticks>`+)[^`]+(?P=ticks)"
    r"|(?<=\])\([^)\s]*(?:\s+\"[^\"]*\")?\)"
    r"|<[^>\n]*>"
    r"|(?:https?|amqps?|mqtts?)://\S+"
    r"|\b[\w-]+(?:[./][\w-]+)+\b"
    r"|\b[a-z][a-z0-9]*(?:-[a-z0-9]+){2,}\b|\b(?:azure|iot)-[a-z]+\b"
    r"|&\w+;",
    re.MULTILINE | re.DOTALL,
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_ENDINGS = ("'s", "s")
# a name of a program: small letters before capital ones, as in CreateOrUpdate
_NAME = re.compile(r"[a-z]+[A-Z]|[A-Z]+[a-z]+[A-Z]")
_PAIR = " -> "


@dataclass(frozen=True, slots=True)
class WordList:
    """The project's own words.

    Attributes:
        accepted: words that the dictionary lacks.
        refused: forms that are not wanted, in small letters, and what to write instead.
    """

    accepted: frozenset[str]
    refused: dict[str, str]

    def knows(self, word: str) -> bool:
        """Whether a word is accepted: as it stands, at the beginning of a sentence, or with an s."""
        forms = [word, *(word[: -len(ending)] for ending in _ENDINGS if word.endswith(ending))]
        return any(form in self.accepted or form[:1].lower() + form[1:] in self.accepted for form in forms)


def word_list(path: Path = WORDS) -> WordList:
    """Read the project's words: one a line, or ``form -> form`` for one that is not wanted.

    Raises:
        NotebookError: a line is neither, or the lines are not sorted.
    """
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    if lines != sorted(set(lines), key=lambda line: (line.lower(), line)):
        raise NotebookError(f"The words in {path.name} must be sorted, and each stand there once.")
    accepted, refused = set(), {}
    for line in lines:
        wrong, arrow, right = line.partition(_PAIR)
        if not all(_WORD.fullmatch(part) for part in ([wrong, right] if arrow else [wrong])):
            raise NotebookError(f"{line!r} in {path.name} is no word. Write one word, or `not this{_PAIR}but this`.")
        if arrow:
            refused[wrong.lower()] = right
        accepted.add(right or wrong)
    return WordList(frozenset(accepted), refused)


def prose(text: str) -> str:
    """A Markdown text without what is not prose; lines stay where they are."""
    return _NO_PROSE.sub(lambda match: "\n" * match[0].count("\n") or " ", text)


def words_of(text: str) -> Iterator[tuple[int, str]]:
    """The words of a Markdown text, with the number of their line. Names of programs are none."""
    for number, line in enumerate(prose(text).splitlines(), 1):
        for match in _WORD.finditer(line):
            word = match[0].replace("’", "'")
            if len(word) > 1 and not _NAME.match(word):
                yield number, word


def misspelt(text: str, known: WordList, look_up: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    """What is spelt wrongly in a Markdown text: number of the line, and a sentence.

    Arguments:
        text: in Markdown.
        known: the project's words.
        look_up: asks the dictionary.
    """
    for number, word in words_of(text):
        better = known.refused.get(word.lower())
        if better:
            yield number, f"{word!r} is spelt {better!r} here"
        elif not known.knows(word) and not look_up(word):
            yield number, f"{word!r} is in no dictionary; if it is right, add it to {WORDS.name}"


def dictionary() -> Callable[[str], bool]:
    """The dictionary of American English, as a function that knows a word or not.

    Raises:
        NotebookError: it is not installed.
    """
    try:
        # by its name: learners do not need it, and it is not installed for them
        hunspell = importlib.import_module("spylls.hunspell")
    except ImportError:
        raise NotebookError("The dictionary is missing. Install it: pip install -r requirements-dev.txt") from None
    with warnings.catch_warnings():
        # it leaves its files to the garbage collector, which complains about them
        warnings.simplefilter("ignore", ResourceWarning)
        found = hunspell.Dictionary.from_files("en_US")
        gc.collect()
    answers: dict[str, bool] = {}

    def look_up(word: str) -> bool:
        if word not in answers:
            answers[word] = bool(found.lookup(word))
        return answers[word]

    return look_up


def texts(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """The Markdown texts of files, each with the name of its place."""
    for path in paths:
        if path.suffix != ".ipynb":
            yield path.name, path.read_text(encoding="utf-8")
            continue
        for position, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"], 1):
            if cell["cell_type"] == "markdown":
                yield f"{path.name}, cell {position}", "".join(cell["source"])


def everything() -> list[Path]:
    """The notebooks and documents of the repository."""
    documents = {path for pattern in DOCUMENTS for path in REPOSITORY.glob(pattern)}
    return [*find(), *sorted(documents)]


def problems(paths: Iterable[Path], known: WordList, look_up: Callable[[str], bool]) -> list[str]:
    """What is spelt wrongly in files, a line each with file, place and what to do.

    Arguments:
        paths: notebooks and Markdown files.
        known: the project's words.
        look_up: asks the dictionary.
    """
    return [
        f"{place}, line {line}: {what}" for place, text in texts(paths) for line, what in misspelt(text, known, look_up)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Arguments:
        arguments: instead of those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.spelling", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="notebooks and Markdown files; default: all")
    given = parser.parse_args(arguments)
    try:
        found = problems(given.files or everything(), word_list(), dictionary())
    except (NotebookError, OSError) as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - for a terminal
        return 2
    for problem_line in found:
        print(problem_line)  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
