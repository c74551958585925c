"""How many requests are in flight, and how often one is tried."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d_fast.remote import requests
from c2d_fast.remote.remote_errors import ChangedError, RemoteError, not_found, of_text
from c2d_fast.remote.throttle import Throttle


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Requests that end when they are told to."""

    def __init__(self, throttle):
        self.throttle, self.begun, self.most = throttle, [], 0
        self.tasks, self.ends, self.inside = {}, {}, set()

    def ask(self, name):
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.ensure_future(self._request(name))

    async def _request(self, name):
        async with self.throttle:
            self.begun.append(name)
            self.inside.add(name)
            self.most = max(self.most, len(self.inside))
            try:
                await self.ends[name].wait()
            finally:
                self.inside.discard(name)

    async def end(self):
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


def test_waiters_have_their_turn_in_order_and_nobody_comes_in_between():
    async def check():
        crowd = Crowd(Throttle(1))
        for name in "abc":
            crowd.ask(name)
        await settle()
        crowd.ends["a"].set()
        while crowd.throttle._waiting and not crowd.throttle._waiting[0].done() and len(crowd.throttle._waiting) == 2:
            await asyncio.sleep(0)
        crowd.ask("d")  # just when it is the turn of b, which does not know yet
        await settle()
        assert crowd.begun == ["a", "b"]
        for name in "bcd":
            crowd.ends[name].set()
            await settle()
        assert crowd.begun == ["a", "b", "c", "d"]
        assert crowd.most == 1

    asyncio.run(check())


def test_a_waiter_that_is_cancelled_in_its_turn_hands_it_on():
    async def check():
        crowd = Crowd(Throttle(1))
        for name in "abc":
            crowd.ask(name)
        await settle()
        crowd.ends["a"].set()
        while "a" in crowd.inside:
            await asyncio.sleep(0)
        crowd.tasks["b"].cancel()
        await settle()
        assert crowd.begun == ["a", "c"]
        await crowd.end()
        assert crowd.throttle._in_flight == 0

    asyncio.run(check())


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["ask", "end", "cancel", "slow", "answer"]), st.integers(0, 99)), max_size=40),
)
def test_whatever_happens_no_turn_is_lost_and_no_limit_passed(most, events):
    async def check():
        crowd = Crowd(Throttle(most))
        for number, (kind, choice) in enumerate(events):
            names = sorted(name for name, task in crowd.tasks.items() if not task.done())
            if kind == "ask":
                crowd.ask(f"{number:03}")
            elif kind == "slow":
                crowd.throttle._halved_s = 0.0
                crowd.throttle.slow_down()
            elif kind == "answer":
                crowd.throttle.answered()
            elif names:
                name = names[choice % len(names)]
                crowd.ends[name].set() if kind == "end" else crowd.tasks[name].cancel()
            if choice % 2:
                await settle()
        await settle()
        assert crowd.most <= most
        waiting = [name for name, task in crowd.tasks.items() if not task.done() and name not in crowd.inside]
        assert not waiting or len(crowd.inside) >= int(crowd.throttle.limit)
        assert crowd.begun == sorted(crowd.begun)
        for event in crowd.ends.values():
            event.set()
        await asyncio.gather(*crowd.tasks.values(), return_exceptions=True)
        assert crowd.throttle._in_flight == 0

    asyncio.run(check())


def test_the_limit_is_halved_once_a_second_and_grows_again():
    throttle = Throttle(16)
    for _ in range(50):
        throttle.slow_down()
    assert throttle.limit == 8
    for _ in range(5):
        throttle._halved_s = 0.0
        throttle.slow_down()
    assert throttle.limit == 1
    steps = 0
    while throttle.limit < 16:
        throttle.answered()
        steps += 1
    assert 100 < steps < 160  # one more in flight for each round of answers


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between tries; time passes by nothing else."""
    made, clock = [], [1000.0]

    async def sleep(seconds):
        made.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(requests.asyncio, "sleep", sleep)
    monkeypatch.setattr(requests.time, "monotonic", lambda: clock[0])
    return made


def tried(answers, limit_s=20.0):
    """Returns how often was tried, and what came of it."""
    calls = []

    async def call():
        calls.append(1)
        answer = answers[min(len(calls), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    requests._throttle.cache_clear()
    try:
        return len(calls), asyncio.run(requests._with_retry(call, limit_s)), len(calls)
    except Exception as error:
        return len(calls), error, len(calls)


FAILED = of_text("status code: 500")


def test_what_may_pass_is_tried_again_with_growing_jittered_pauses(pauses):
    random.seed(3)
    _, answer, tries = tried([FAILED] * 6 + ["there"])
    assert (answer, tries) == ("there", 7)
    for number, pause in enumerate(pauses):
        assert min(0.2 * 2**number, 5) / 4 <= pause <= min(0.2 * 2**number, 5)
    assert len(set(pauses)) == len(pauses)


def test_trying_ends_after_the_limit(pauses):
    tries, error, _ = tried([FAILED])
    assert error is FAILED
    assert 20 < sum(pauses) < 26
    assert tries == len(pauses) + 1 < 40


@pytest.mark.parametrize("error", [not_found(), of_text("status code: 403"), of_text("status code: 400"), ChangedError("x")])
def test_what_does_not_pass_is_tried_once(pauses, error):
    assert tried([error])[::2] == (1, 1)
    assert pauses == []


def test_who_asks_once_is_answered_at_once(pauses):
    tries, error, _ = tried([FAILED], limit_s=0.0)
    assert (tries, error, pauses) == (1, FAILED, [])


@pytest.mark.parametrize(
    ("text", "said", "passes"),
    [
        ("HTTP status code: 503 Slow Down <Code>SlowDown</Code>", "the server asks for fewer requests (503)", True),
        ("status code: 429", "the server asks for fewer requests (429)", True),
        ("status code: 500 https://user:secret@host/a?sig=secret", "the server failed (500)", True),
        ("status code: 403 <Code>ExpiredToken</Code><Token>secret</Token>",
         "access denied (403 ExpiredToken): credentials are missing, wrong or expired", False),
        ("status code: 404", "no such object (404)", False),
        ("operation timed out", "no answer in time", True),
        ("dns error: failed to lookup secret", "its host is not found", True),
        ("tcp connect error: Connection refused (os error 111)", "connection refused", True),
        ("anything else\nwith secret pages", "the request failed", True),
    ],
)  # fmt: skip
def test_errors_are_one_line_without_secrets(text, said, passes):
    error = of_text(text)
    assert isinstance(error, RemoteError)
    assert error.strerror == said
    assert error.may_pass == passes
