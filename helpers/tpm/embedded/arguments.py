"""The arguments of a command as the embedded TPM reads them, and how it refuses.

A real TPM says with a number which handle, session or parameter it did not like; so does this one.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import TypeVar

from helpers.errors import HelperError
from helpers.tpm.errors import TpmProtocolError
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


def parameter_error(code: int, number: int) -> RefusedError:
    """A refusal because of a parameter."""
    return RefusedError(code | PARAMETER | number << 8)


def handle_error(code: int, number: int) -> RefusedError:
    """A refusal because of a handle."""
    return RefusedError(code | number << 8)


def session_error(code: int, number: int) -> RefusedError:
    """A refusal because of an authorization."""
    return RefusedError(code | SESSION | number << 8)


@contextmanager
def blamed_on_parameter(number: int) -> Iterator[None]:
    """Add the number of a parameter to a refusal, when its code has room for one and says nothing yet."""
    try:
        yield
    except RefusedError as error:
        if not error.code & FORMAT_ONE or error.code & _POSITION:
            raise
        raise parameter_error(error.code, number) from error


class Bytes:
    """Reads a structure; what is wrong with it is a refusal without a position."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._reader = Reader(data)

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return self._reader.remaining

    def take(self, count: int) -> bytes:
        """The next bytes."""
        try:
            return self._reader.take(count)
        except TpmProtocolError as error:
            raise RefusedError(ResponseCode.INSUFFICIENT) from error

    def number(self, size: int) -> int:
        """The next bytes as a number."""
        return int.from_bytes(self.take(size), "big")

    def sized(self, largest: int) -> bytes:
        """The content of a TPM2B."""
        size = self.number(2)
        if size > largest:
            raise RefusedError(ResponseCode.SIZE)
        return self.take(size)

    def symmetric(self) -> int:
        """A symmetric algorithm: the bits of an AES key for CFB mode, 0 for none."""
        algorithm = self.number(2)
        if algorithm == Algorithm.NULL:
            return 0
        if algorithm != Algorithm.AES:
            raise RefusedError(ResponseCode.SYMMETRIC)
        bits = self.number(2)
        if bits not in (128, 256):
            raise RefusedError(ResponseCode.VALUE)
        if self.number(2) != Algorithm.CFB:
            raise RefusedError(ResponseCode.MODE)
        return bits

    def structure(self, parse: Callable[[Bytes], T]) -> T:
        """A structure with its size in front, which must be right."""
        size = self.number(2)
        if not size:
            raise RefusedError(ResponseCode.SIZE)
        before = self.remaining
        parsed = parse(self)
        if before - self.remaining != size:
            raise RefusedError(ResponseCode.SIZE)
        return parsed

    def since(self, remaining: int) -> bytes:
        """The bytes that were read since so many were left."""
        return self._data[len(self._data) - remaining : len(self._data) - self.remaining]

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self._reader.rest()

    def finish(self) -> None:
        """Refuse bytes that are left over."""
        if self.remaining:
            raise RefusedError(ResponseCode.SIZE)


class Arguments:
    """The parameters of a command, taken in their order.

    Arguments:
        data: everything after the handles and authorizations.
    """

    def __init__(self, data: bytes) -> None:
        self._bytes = Bytes(data)
        self._number = 0

    def number(self, size: int) -> int:
        """The next parameter, a number."""
        with self._next():
            return self._bytes.number(size)

    def sized(self, largest: int) -> bytes:
        """The next parameter, a TPM2B."""
        with self._next():
            return self._bytes.sized(largest)

    def one_of(self, numbers: Container[int], size: int, code: int = ResponseCode.VALUE) -> int:
        """The next parameter, a number that has to be one of these."""
        with self._next():
            number = self._bytes.number(size)
            if number not in numbers:
                raise RefusedError(code)
            return number

    def structure(self, parse: Callable[[Bytes], T]) -> T:
        """The next parameter, a structure with its size in front."""
        with self._next():
            return self._bytes.structure(parse)

    def symmetric(self) -> int:
        """The next parameter, a symmetric algorithm; see :meth:`Bytes.symmetric`."""
        with self._next():
            return self._bytes.symmetric()

    def registers(self, most: int = 16) -> int:
        """The next parameter, a selection of PCRs; gives how many banks are in it."""
        with self._next():
            count = self._bytes.number(4)
            if count > most:
                raise RefusedError(ResponseCode.SIZE)
            for _ in range(count):
                self._bytes.take(2)
                self._bytes.take(self._bytes.number(1))
            return count

    def finish(self) -> None:
        """Refuse bytes that are left over. Called before the command does anything."""
        self._bytes.finish()

    @contextmanager
    def _next(self) -> Iterator[None]:
        self._number += 1
        with blamed_on_parameter(self._number):
            yield
