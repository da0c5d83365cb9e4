"""The arguments of a command as the embedded TPM reads them, and how it refuses.

A real TPM says with a number which handle, session or parameter it did not like; so does this one.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from helpers.errors import HelperError
from helpers.tpm.response_codes import FORMAT_ONE, PARAMETER, SESSION, ResponseCode
from helpers.tpm.structures import Algorithm, Reader

_POSITION = 0xF00 | PARAMETER

T = TypeVar("T")


class RefusedError(HelperError):
    """The embedded TPM refuses a command.

    Arguments:
        code: the response code.
    """

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"0x{code:03X}")


def in_parameter(code: int, number: int) -> int:
    """The code of a refusal that is about a parameter of the command, counted from 1."""
    return code | PARAMETER | number << 8


def in_handle(code: int, number: int) -> int:
    """The code of a refusal that is about a handle of the command, counted from 1."""
    return code | number << 8


def in_session(code: int, number: int) -> int:
    """The code of a refusal that is about an authorization of the command, counted from 1."""
    return code | SESSION | number << 8


def refuse(when: object, code: int) -> None:
    """Refuse the command on a condition.

    Arguments:
        when: what is wrong; false, empty or zero when nothing is.
        code: the response code for it.

    Raises:
        RefusedError: something is.
    """
    if when:
        raise RefusedError(code)


@contextmanager
def blamed_on_parameter(number: int) -> Iterator[None]:
    """Add the number of a parameter to a refusal, when its code has room for one and says nothing yet."""
    try:
        yield
    except RefusedError as error:
        if not error.code & FORMAT_ONE or error.code & _POSITION:
            raise
        raise RefusedError(in_parameter(error.code, number)) from error


class Bytes(Reader):
    """Reads a structure; what is wrong with it is a refusal without a position."""

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            RefusedError: there are fewer.
        """
        refuse(count > self.remaining, ResponseCode.INSUFFICIENT)
        return super().take(count)

    def number(self, size: int) -> int:
        """The next bytes as a number, most significant first."""
        return int.from_bytes(self.take(size), "big")

    def buffer(self, largest: int) -> bytes:
        """The content of a TPM2B of at most so many bytes."""
        size = self.number(2)
        refuse(size > largest, ResponseCode.SIZE)
        return self.take(size)

    def one_of(self, numbers: Container[int], size: int, code: int = ResponseCode.VALUE) -> int:
        """The next bytes as a number that has to be one of these; ``code`` refuses another one."""
        number = self.number(size)
        refuse(number not in numbers, code)
        return number

    def symmetric(self) -> int:
        """A symmetric algorithm: the bits of an AES key for CFB mode, 0 for none."""
        if self.one_of((Algorithm.NULL, Algorithm.AES), 2, ResponseCode.SYMMETRIC) == Algorithm.NULL:
            return 0
        bits = self.one_of((128, 256), 2)
        self.one_of((Algorithm.CFB,), 2, ResponseCode.MODE)
        return bits

    def structure(self, parse: Callable[[Bytes], T]) -> T:
        """A structure with its size in front, which must be right."""
        size = self.number(2)
        refuse(not size, ResponseCode.SIZE)
        before = self.remaining
        parsed = parse(self)
        refuse(before - self.remaining != size, ResponseCode.SIZE)
        return parsed

    def registers(self, most: int = 16) -> int:
        """A selection of PCRs in at most so many banks; gives how many banks are in it."""
        count = self.number(4)
        refuse(count > most, ResponseCode.SIZE)
        for _ in range(count):
            self.take(2)
            self.take(self.number(1))
        return count

    def since(self, remaining: int) -> bytes:
        """The bytes that were read since so many were left."""
        return self._data[len(self._data) - remaining : self._position]

    def finish(self) -> None:
        """Refuse bytes that are left over."""
        refuse(self.remaining, ResponseCode.SIZE)


#: Reads one parameter of a command.
Parameter = Callable[[Bytes], Any]


def number(size: int) -> Parameter:
    """A parameter that is a number of so many bytes."""
    return lambda reader: reader.number(size)


def sized(largest: int) -> Parameter:
    """A parameter that is a TPM2B of at most so many bytes."""
    return lambda reader: reader.buffer(largest)


def one_of(numbers: Container[int], size: int, code: int = ResponseCode.VALUE) -> Parameter:
    """A parameter that is one of these numbers, of so many bytes; ``code`` refuses another one."""
    return lambda reader: reader.one_of(numbers, size, code)


def structure(parse: Callable[[Bytes], object]) -> Parameter:
    """A parameter that is a structure with its size in front."""
    return lambda reader: reader.structure(parse)


def read_parameters(data: bytes, parameters: Iterable[Parameter]) -> list[Any]:
    """Read all parameters of a command.

    Arguments:
        data: everything after the handles and authorizations.
        parameters: what reads each of them, in their order.

    Raises:
        RefusedError: one of them is wrong, and the code says which; or bytes are left over.
    """
    reader = Bytes(data)
    values: list[Any] = []
    for place, read in enumerate(parameters, 1):
        with blamed_on_parameter(place):
            values.append(read(reader))
    reader.finish()
    return values
