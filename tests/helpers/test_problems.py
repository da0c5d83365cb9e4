import requests

from helpers.problems import causes, status_of
from helpers.target.registry import RegistryError


def test_causes_are_followed_also_when_implicit_and_round_in_circles():
    first, second = ValueError("a"), KeyError("b")
    first.__context__ = second
    second.__cause__ = first
    assert causes(first) == [first, second]


def test_the_status_of_errors_is_found_wherever_it_is():
    assert status_of(ValueError("x")) is None
    answer = requests.Response()
    answer.status_code = 418
    assert status_of(RegistryError(None, answer)) == 418
    assert status_of(requests.HTTPError(response=answer)) == 418
