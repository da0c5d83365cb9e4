from __future__ import annotations

import asyncio
import gc
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest
from amqp_client import Heard, begin, flow, frame, one, opening, receiver, sasl, sasl_response, sender, transfer
from hypothesis import given, settings
from hypothesis import strategies as st
from manual_loop import ManualLoop
from thoroughness import examples

from dps_simulator.common.http import Peer
from dps_simulator.protocols.amqp.connections import (
    CLOSE_TIMEOUT,
    CONNECT_TIMEOUT,
    IDLE_PATIENCE,
    IDLE_TIME_OUT,
    LINK_BYTES,
    SESSION_BYTES,
)
from dps_simulator.protocols.amqp.errors import Condition
from dps_simulator.protocols.amqp.frames import AMQP_HEADER, SASL_HEADER
from dps_simulator.protocols.amqp.links import Delivery, Link, Sent
from dps_simulator.protocols.amqp.performatives import (
    Accepted,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    Error,
    Flow,
    Open,
    Outcome,
    SaslChallenge,
    SaslCode,
    SaslInit,
    SaslOutcome,
    Transfer,
)
from dps_simulator.protocols.ending import CLIENT, NETWORK, SERVICE, Ending
from dps_simulator.server.amqp_line import MECHANISMS, AmqpConnectionLine
from dps_simulator.wire.amqp import AmqpLine

NO = Error(condition="amqp:not-found", description="no")


class Application:
    """Accepts everything, notes everything, and sends back what it gets on the link to the client."""

    mechanisms = ("PLAIN", "TPM")

    def __init__(self, line: AmqpLine) -> None:
        self.line = line
        self.seen: list[Any] = []
        self.to_client: Link | None = None
        self.how: Ending | None = None

    def authenticate(self, init: SaslInit) -> None:
        self.seen.append(("authenticate", init.mechanism))
        self.line.approve()

    def responded(self, response: bytes) -> None:
        self.seen.append(("responded", response))
        self.line.approve()

    def opened(self, said: Open) -> None:
        self.seen.append(("opened", said.hostname))
        self.line.accept({"served": "yes"})

    def attached(self, link: Link) -> None:
        self.seen.append(("attached", link.address))
        link.accept()

    def detached(self, link: Link, error: Error | None) -> None:
        self.seen.append(("detached", link.address))

    def received(self, delivery: Delivery) -> None:
        self.seen.append(("received", delivery.body))
        delivery.accept()
        if self.to_client is not None:
            self.to_client.send(delivery.body, "key")

    def settled(self, sent: Sent, outcome: Outcome) -> None:
        self.seen.append(("settled", sent.key))
        sent.confirm()

    def credited(self, link: Link) -> None:
        self.seen.append(("credited", link.sendable))
        self.to_client = link

    def disconnected(self, clean: bool, how: Ending | None = None) -> None:
        self.seen.append(("disconnected", clean))
        self.how = how


class Bench:
    """One connection on a manual loop."""

    def __init__(self, application: Callable[[AmqpLine], Any] = Application, **options: Any) -> None:
        self.loop = ManualLoop()
        self.written: list[bytes] = []
        self.closes = 0
        self.made: list[Any] = []
        self.heard = Heard()
        self.arriving: list[int] = []
        self.kept: list[int] = []
        self._application = application
        arguments: dict[str, Any] = {
            "peer": Peer(host="hub.test", transport="amqp"),
            "write": self.written.append,
            "close_transport": self._close,
            "choose": self._choose,
            "loop": self.loop,
            "arriving": self.arriving.append,
            "keeps": self.kept.append,
        }
        self.line = AmqpConnectionLine(**{**arguments, **options})

    def _close(self) -> None:
        self.closes += 1

    def _choose(self, line: AmqpLine, _hostname: str) -> Any:
        self.made.append(self._application(line))
        return self.made[-1]

    @property
    def application(self) -> Any:
        return self.made[0]

    @property
    def seen(self) -> list[Any]:
        return self.application.seen

    def say(self, *data: bytes) -> list[Any]:
        self.line.receive(b"".join(data))
        return self.said()

    def said(self) -> list[Any]:
        data = b"".join(self.written)
        self.written.clear()
        return self.heard.take(data)

    def opened(self, *more: bytes, **fields: Any) -> Bench:
        self.say(opening(**fields), begin(), *more)
        return self

    def farewells(self) -> int:
        return sum(what[0] == "disconnected" for what in self.seen)


def kinds(said: list[Any]) -> list[type]:
    return [type(each[0] if isinstance(each, tuple) else each) for each in said]


def fail(*_arguments: Any, **_named: Any) -> None:
    raise RuntimeError("broken application")


def broken(*methods: str) -> type:
    return type("Broken", (Application,), dict.fromkeys(methods, fail))


# a conversation


def test_a_conversation() -> None:
    bench = Bench()
    assert bench.say(sasl())[2] == SaslOutcome(code=0)
    header, answered = bench.say(opening(hostname="h"))
    assert (header, answered.container_id, answered.properties) == (AMQP_HEADER, "hub.test", {"served": "yes"})
    assert kinds(bench.say(begin(), sender("a"), receiver("b"), flow())) == [Begin, Attach, Flow, Attach]
    disposition, (said, payload) = bench.say(transfer(b"message"))
    assert (disposition.state, payload) == (Accepted(), b"message")
    assert isinstance(said, Transfer)
    assert bench.say(frame(Disposition(role=True, first=0, state=Accepted()))) == [
        Disposition(role=False, first=0, last=0, settled=True, state=Accepted())
    ]
    assert bench.say(frame(Detach(handle=0, closed=True))) == [Detach(handle=0, closed=True)]
    assert bench.say(frame(Close())) == [Close()]
    assert (bench.closes, bench.line.ended) == (1, True)
    assert bench.farewells() == 0  # not within the call
    bench.loop.advance()
    bench.line.lost()
    assert bench.seen == [
        ("authenticate", "PLAIN"),
        ("opened", "h"),
        ("attached", "a"),
        ("attached", "b"),
        ("credited", 10),
        ("received", b"message"),
        ("settled", "key"),
        ("detached", "a"),
        ("detached", "b"),
        ("disconnected", True),
    ]
    assert bench.application.how == Ending(CLIENT)
    assert bench.loop.pending == 0


def test_the_peer_is_passed_on() -> None:
    assert Bench().application.line.peer == Peer(host="hub.test", transport="amqp")


def test_everything_in_one_portion_is_answered_in_one_write() -> None:
    bench = Bench()
    bench.line.receive(opening() + begin() + sender("a") + transfer(b"x"))
    assert len(bench.written) == 1
    assert kinds(bench.said()) == [bytes, Open, Begin, Attach, Flow, Disposition]


def test_what_is_sent_out_of_turn_goes_at_once() -> None:
    bench = Bench().opened(receiver("b"), flow())
    bench.application.to_client.send(b"x")
    assert kinds(bench.said()) == [Transfer]


def test_bytes_that_come_during_a_step_wait_for_its_end() -> None:
    class Nested(Application):
        def attached(self, link: Link) -> None:
            if link.address == "a":
                self.line.receive(sender("b", name="other", handle=1))  # type: ignore[attr-defined]
            super().attached(link)

    bench = Bench(Nested).opened(sender("a"))
    assert bench.seen[1:] == [("attached", "a"), ("attached", "b")]


@given(st.lists(st.integers(1, 400), max_size=6))
@settings(max_examples=examples(40), deadline=None)
def test_bytes_split_anywhere_are_the_same_conversation(cuts: list[int]) -> None:
    data = sasl() + opening() + begin() + sender("a") + receiver("b") + flow() + transfer(b"1", more=True)
    data += transfer(b"2") + frame(Close())
    whole, split = Bench(), Bench()
    places = [0, *sorted(cuts), len(data)]
    pieces = [said for start, end in itertools.pairwise(places) for said in split.say(data[start:end])]
    assert pieces == whole.say(data)
    assert split.seen == whole.seen
    assert ("received", b"12") in split.seen


# who serves


def test_the_host_name_of_sasl_chooses() -> None:
    names: list[str] = []

    def choose(line: AmqpLine, name: str) -> Any:
        names.append(name)
        return Application(line) if name == "mine" else None

    bench = Bench(choose=choose)
    assert bench.say(sasl(hostname="mine")[:8])[1].sasl_server_mechanisms == MECHANISMS
    assert bench.say(sasl(hostname="mine")[8:]) == [SaslOutcome(code=0)]
    assert kinds(bench.say(opening(hostname="other"))) == [bytes, Open]
    assert names == ["", "mine"]


def test_an_application_says_its_mechanisms() -> None:
    assert Bench().say(SASL_HEADER)[1].sasl_server_mechanisms == ("PLAIN", "TPM")


def test_the_host_name_may_come_late_and_nobody_may_have_it() -> None:
    names: list[str] = []
    bench = Bench(choose=lambda _, name: names.append(name))
    assert bench.say(sasl())[2:] == [SaslOutcome(code=0)]
    said = bench.say(opening(hostname="nobody"))
    assert kinds(said) == [bytes, Open, Close]
    assert said[-1].error.condition == Condition.NOT_FOUND
    assert names == ["", "", "nobody"]
    assert bench.closes == 0
    assert bench.say(frame(Close())) == []
    bench.loop.advance()
    assert (bench.closes, bench.loop.pending) == (1, 0)


# answers that come later


def test_an_application_may_answer_later() -> None:
    class Patient(Application):
        def authenticate(self, init: SaslInit) -> None:
            self.seen.append("authenticate")

        responded = opened = authenticate  # type: ignore[assignment]

    bench = Bench(Patient)
    bench.say(sasl(), sasl_response(b"!"))
    line = bench.line
    line.challenge(b"?")
    assert bench.said() == [SaslChallenge(challenge=b"?")]
    assert bench.seen == ["authenticate"] * 2  # the response was there already
    line.receive(opening() + begin())
    line.approve()
    said = bench.said()
    assert said == [SaslOutcome(code=0), AMQP_HEADER]
    assert bench.seen == ["authenticate"] * 3
    line.accept()
    assert kinds(bench.said()) == [Open, Begin]


def test_a_refusal_later() -> None:
    bench = Bench(type("Silent", (Application,), {"authenticate": lambda *_: None}))
    bench.say(sasl())
    bench.line.deny(SaslCode.SYSTEM_ERROR_TEMPORARY)
    assert bench.said() == [SaslOutcome(code=4)]
    bench.loop.advance()
    assert (bench.closes, bench.farewells(), bench.application.how) == (1, 1, Ending(SERVICE))


def test_a_refusal_within_the_step() -> None:
    class Refusing(Application):
        def authenticate(self, init: SaslInit) -> None:
            self.line.deny()
            self.seen.append("still here")

    bench = Bench(Refusing)
    assert bench.say(sasl(), opening())[2:] == [SaslOutcome(code=1)]
    bench.loop.advance()
    assert bench.seen == ["still here", ("disconnected", False)]
    assert (bench.closes, bench.application.how) == (1, Ending(SERVICE))


@pytest.mark.parametrize(
    "answer",
    [
        lambda line: line.accept(),
        lambda line: line.approve(),
        lambda line: line.deny(),
        lambda line: line.challenge(b"?"),
    ],
)
def test_an_impossible_answer_closes_and_does_not_raise(
    answer: Callable[[AmqpLine], None], caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench().opened()
    answer(bench.line)
    assert one(bench.said(), Close).error.condition == Condition.INTERNAL_ERROR
    assert caplog.text.count("the application's answer is not possible") == 1
    bench.say(frame(Close()))
    bench.loop.advance()
    assert (bench.closes, bench.farewells()) == (1, 1)


# closing


def test_close_waits_for_the_client() -> None:
    bench = Bench().opened(sender("a"))
    bench.line.close(NO)
    bench.line.close()
    assert bench.said() == [Close(error=NO)]
    assert (bench.closes, bench.line.ended) == (0, False)
    assert bench.say(transfer(b"late")) == []
    bench.say(frame(Close()))
    bench.loop.advance()
    assert (bench.closes, bench.seen[-1]) == (1, ("disconnected", True))
    assert bench.application.how == Ending(SERVICE)
    assert ("received", b"late") not in bench.seen


def test_a_client_that_was_silent_for_long_has_time_to_answer_close(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench().opened()
    bench.loop.advance(300.0)
    bench.line.close(NO)
    bench.loop.advance(CLOSE_TIMEOUT - 0.1)
    assert bench.closes == 0
    with caplog.at_level(logging.INFO):
        bench.loop.advance(0.2)
    assert (bench.closes, bench.loop.pending) == (1, 0)
    assert "the client did not answer CLOSE" in caplog.text
    assert bench.application.how == Ending(SERVICE, "the client did not answer CLOSE")


def test_close_before_the_connection_is_open() -> None:
    bench = Bench()
    bench.line.close(NO)
    bench.loop.advance()
    assert (bench.said(), bench.closes, bench.farewells()) == ([], 1, 1)


def test_close_within_a_step_sends_the_answer_first() -> None:
    class Leaving(Application):
        def received(self, delivery: Delivery) -> None:
            super().received(delivery)
            self.line.close(NO)

    bench = Bench(Leaving).opened(sender("a"))
    assert kinds(bench.say(transfer(b"1"), transfer(b"2", delivery_id=1))) == [Disposition, Close]
    assert bench.seen[2:] == [("received", b"1")]


def test_a_cut_says_nothing() -> None:
    bench = Bench().opened(sender("a"))
    bench.line.cut()
    bench.line.cut()
    bench.loop.advance()
    assert (bench.said(), bench.closes, bench.farewells(), bench.loop.pending) == ([], 1, 1, 0)
    assert bench.application.how == Ending(SERVICE)


def test_lost_tells_the_application_once() -> None:
    bench = Bench().opened(sender("a"))
    bench.line.lost()
    bench.line.lost()
    bench.loop.advance()
    assert bench.seen[-1] == ("disconnected", False)
    assert (bench.farewells(), bench.application.how) == (1, Ending(NETWORK))
    assert (bench.loop.pending, bench.closes) == (0, 0)


def test_lost_after_the_end_but_before_soon() -> None:
    bench = Bench().opened()
    bench.say(frame(Close()))
    bench.line.lost()
    assert bench.farewells() == 1
    bench.loop.advance()
    assert bench.farewells() == 1


def test_lost_before_anything_was_said() -> None:
    bench = Bench(choose=lambda *_: None)
    bench.line.lost()
    assert bench.loop.pending == 0


def test_broken_by_the_client(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench().opened()
    with caplog.at_level(logging.INFO):
        bench.line.broken("a frame of the WebSocket is not masked")
        bench.line.lost()
        bench.line.broken("again")
    assert bench.application.how == Ending(SERVICE, "a frame of the WebSocket is not masked")
    assert "not masked" in caplog.text
    assert "again" not in caplog.text


def test_nothing_happens_after_the_end() -> None:
    bench = Bench().opened(receiver("b"), flow())
    link = bench.application.to_client
    bench.line.lost()
    line = bench.line
    line.receive(begin(3))
    line.challenge(b"?")
    line.approve()
    line.deny()
    line.accept()
    line.close(NO)
    link.detach()
    assert link.sendable == 0
    assert (bench.said(), bench.closes, bench.loop.pending) == ([], 0, 0)


def test_a_connection_that_ended_holds_no_application() -> None:
    bench = Bench().opened(sender("a"))
    bench.line.lost()
    bench.made.clear()
    gc.collect()
    assert not [item for item in gc.get_objects() if type(item) is Application and item.line is bench.line]


# what goes wrong


@pytest.mark.parametrize("method", ["opened", "attached", "detached", "received", "settled", "credited"])
def test_an_exception_of_the_application_closes_and_is_logged_once(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(broken(method))
    said = bench.say(
        opening(),
        begin(),
        sender("a"),
        receiver("b"),
        flow(),
        transfer(b"1"),
        transfer(b"2", delivery_id=1),
        frame(Disposition(role=True, first=0, last=9, settled=True, state=Accepted())),
        frame(Detach(handle=0)),
    )
    assert one(said, Close).error == Error(condition=Condition.INTERNAL_ERROR)
    # what came behind is not looked at
    bench.say(frame(Detach(handle=1)), transfer(b"3", delivery_id=2), frame(Close()))
    bench.loop.advance()
    assert caplog.text.count("the application failed") == 1
    assert "broken application" in caplog.text
    assert (bench.closes, bench.farewells(), bench.loop.pending) == (1, 1, 0)


@pytest.mark.parametrize("method", ["authenticate", "responded"])
def test_an_exception_during_sasl_is_a_system_error(method: str, caplog: pytest.LogCaptureFixture) -> None:
    made = broken(method)
    if method == "responded":
        made.authenticate = lambda self, _: self.line.challenge(b"?")  # type: ignore[attr-defined]
    bench = Bench(made)
    said = bench.say(sasl(), sasl_response(b"!") if method == "responded" else b"")
    assert said[-1] == SaslOutcome(code=SaslCode.SYSTEM_ERROR)
    bench.loop.advance()
    assert caplog.text.count("the application failed") == 1
    assert (bench.closes, bench.farewells(), bench.application.how) == (1, 1, Ending(SERVICE))


def test_an_exception_when_the_client_closes() -> None:
    bench = Bench(broken("detached")).opened(sender("a"), sender("b", name="other", handle=1))
    assert bench.say(frame(Close())) == [Close()]
    bench.loop.advance()
    assert (bench.closes, bench.farewells()) == (1, 1)


def test_an_exception_at_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(broken("disconnected")).opened()
    bench.line.lost()
    assert "the application failed at the end" in caplog.text


def test_an_exception_while_choosing_closes(caplog: pytest.LogCaptureFixture) -> None:
    def choose(_: AmqpLine, name: str) -> None:
        if name:
            fail()

    bench = Bench(choose=choose)
    said = bench.say(opening(hostname="h"))
    assert one(said, Close).error.condition == Condition.INTERNAL_ERROR
    assert "broken application" in caplog.text


def test_a_protocol_error_closes_and_is_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    with caplog.at_level(logging.DEBUG):
        bench.say(sasl(response=b"\0user\0hunter2hunter2"), opening(), begin(), sender("a"))
        close = one(bench.say(transfer(b"payload"), begin()), Close)
        bench.say(begin(5))
    bench.loop.advance()
    assert close.error.condition == Condition.NOT_ALLOWED
    assert bench.closes == 1
    assert bench.application.how == Ending(SERVICE, "the channel 0 is in use")
    assert "the channel 0 is in use" in caplog.text
    assert "hunter2" not in caplog.text
    assert "payload" not in caplog.text
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert len(caplog.records) == 1


def test_a_transport_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(write=fail, close_transport=fail)
    bench.say(opening(), begin())
    bench.loop.advance()
    assert caplog.text.count("the transport takes no data") == 1
    assert "the transport cannot be closed" in caplog.text
    assert (bench.farewells(), bench.loop.pending) == (1, 0)


def test_a_transport_that_takes_no_farewell(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(write=fail)
    bench.say(b"GET / HTTP/1.1")
    bench.loop.advance()
    assert caplog.text.count("the transport takes no data") == 1
    assert (bench.closes, bench.farewells(), bench.loop.pending) == (1, 1, 0)


@given(st.lists(st.binary(max_size=30), max_size=5), st.sampled_from([b"", sasl(), opening(), opening() + begin()]))
@settings(max_examples=examples(60), deadline=None)
def test_random_bytes_never_raise(portions: list[bytes], before: bytes) -> None:
    bench = Bench()
    bench.line.receive(before)
    for portion in portions:
        bench.line.receive(portion)
    bench.line.lost()
    bench.loop.advance()
    assert (bench.loop.pending, bench.farewells()) == (0, 1)


# time


def test_connect_timeout(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(connect_timeout=3.0)
    bench.say(sasl(), AMQP_HEADER)
    bench.loop.advance(2.9)
    assert bench.closes == 0
    with caplog.at_level(logging.INFO):
        bench.loop.advance(0.2)
    assert (bench.closes, bench.loop.pending, bench.farewells()) == (1, 0, 1)
    assert "opening the connection took too long" in caplog.text


def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    bench = Bench(type("Silent", (Application,), {"opened": lambda *_: None}))
    bench.say(opening())
    bench.loop.advance(CONNECT_TIMEOUT)
    assert (bench.closes, bench.application.how) == (1, Ending(SERVICE, "opening the connection took too long"))


def test_heartbeats_come_before_the_client_gives_up() -> None:
    bench = Bench().opened(idle_time_out=10_000)
    heartbeats = 0
    for _ in range(60):
        bench.loop.advance(1.0)
        heartbeats += sum(data == b"\x00\x00\x00\x08\x02\x00\x00\x00" for data in bench.written)
        bench.written.clear()
    assert 11 <= heartbeats <= 13
    assert bench.closes == 0


def test_a_client_that_falls_silent(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench().opened()
    with caplog.at_level(logging.INFO):
        bench.loop.advance(IDLE_TIME_OUT * IDLE_PATIENCE - 1)
        bench.say(b"\x00\x00\x00\x08\x02\x00\x00\x00")
        bench.loop.advance(IDLE_TIME_OUT * IDLE_PATIENCE - 1)
        assert bench.closes == 0
        bench.loop.advance(2)
    assert bench.closes == 1
    assert "no frame within 360 seconds" in caplog.text
    assert bench.loop.pending == 0


def test_traffic_sets_no_timers() -> None:
    bench = Bench().opened(sender("a"))
    before = bench.loop.timers_set
    for number in range(200):
        bench.say(transfer(b"x", delivery_id=number))
    assert bench.loop.timers_set == before


# what is kept


def test_what_waits_for_its_rest_is_told() -> None:
    bench = Bench().opened(sender("a"))
    bench.say(transfer(b"12345", more=True))
    rest = transfer(b"", aborted=True)
    bench.say(rest[:2])
    bench.say(rest[2:])
    assert bench.arriving == [5, 7, 0]


def test_what_sessions_and_links_take_is_told() -> None:
    bench = Bench().opened(sender("a"))
    assert sum(bench.kept) == SESSION_BYTES + LINK_BYTES
    bench.say(frame(Detach(handle=0)))
    assert sum(bench.kept) == SESSION_BYTES


# on a real event loop


def test_the_timer_of_an_event_loop() -> None:
    async def run() -> Bench:
        loop = asyncio.get_running_loop()
        bench = Bench(loop=loop, connect_timeout=0.0)
        done = asyncio.Event()
        bench.application.disconnected = lambda *_: done.set()
        await done.wait()
        return bench

    bench = asyncio.run(run())
    assert (bench.closes, bench.line.ended) == (1, True)
