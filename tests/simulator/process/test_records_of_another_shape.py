"""Records that are whole and not what this version writes: the start refuses them in words and quotes nothing."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from dps_simulator.process.store import DamagedStoreError, Store, empty
from dps_simulator.runtime import SimulatorRuntime
from dps_simulator.settings.settings import Settings

SECRET = "NOT-A-SECRET-KEY-OF-32-BYTES-----"


def start(folder):
    async def work():
        async with AsyncExitStack() as stack:
            await SimulatorRuntime.open(stack, Settings(state=folder, pace="instant"))

    asyncio.run(work())


def wrong(value):
    """The same members, each of another type."""
    if isinstance(value, dict):
        return {name: wrong(item) for name, item in value.items()}
    return 7 if isinstance(value, list) else [value, SECRET]


@pytest.mark.parametrize("spoil", [lambda body: {}, wrong], ids=["missing members", "wrong types"])
@pytest.mark.parametrize("collection", ["policy key", "access policy of the owner", "access policy"])
def test_a_start_refuses_it_in_words(tmp_path, collection, spoil):
    folder = tmp_path / "state"
    start(folder)
    store = Store(folder)
    documents = store.collection(collection)
    assert documents.everything()
    for key, parent, body in documents.everything():
        documents.put(key, spoil(body), parent)
    store.close()
    with pytest.raises(DamagedStoreError, match="not as this version writes it") as caught:
        start(folder)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__
    empty(folder)
    start(folder)


@pytest.mark.parametrize("ports", [{}, {"proxy": ["x"], "tls": "x"}, {"proxy": -1, "tls": 70_000}])
def test_ports_that_are_none_are_chosen_anew(tmp_path, ports):
    store = Store(tmp_path)
    store.collection("port").put("ports", ports)
    store.close()
    start(tmp_path)


def test_a_mistake_of_ours_is_not_taken_for_one_where_nothing_is_stored():
    store = Store()
    with pytest.raises(ZeroDivisionError), store.reading():
        raise ZeroDivisionError
    store.close()
