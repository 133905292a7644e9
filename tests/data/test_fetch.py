"""Fetching through a server that answers late, wrong, truncated, with errors, or not at all."""

import email.utils
import hashlib
import json
import time
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.core.files import write_atomic
from fiduciary.data.sources.cache import Cache, Licence, Piece, Request, parquet
from fiduciary.data.sources.fetch import NoRowsError, Patience, RefusalError, TransientError, fetch, scrubbed
from fiduciary.data.sources.http import demand_ok, get_json
from loopback import BUSY, DROPPED, PAGE, Answer, Loopback

QUICK = Patience(first=0.001, longest=0.01)
TERMS = Licence("for tests", redistribution=True)
FRAME = pl.DataFrame({"event_time": [date(2020, 1, 2)], "value": [1.5]})
GOOD = Answer(json.dumps({"value": [1.5]}).encode())


def request(symbol="A", **changes):
    return Request(**{"source": "test", "table": "macro", "symbols": (symbol,), "stop": date(2020, 1, 31)} | changes)


@pytest.fixture
def server():
    with Loopback() as running:
        yield running


def asking(server, timeout=5.0):
    """Rows of whatever the server says at /SYMBOL."""

    def ask(asked):
        said = get_json(f"{server.url}/{asked.symbols[0]}", params={"api_key": "s3cret"}, timeout=timeout)
        return pl.DataFrame(said)

    return ask


@pytest.mark.parametrize(
    ("trouble", "timeout"),
    [
        (Answer(GOOD.body, late=0.3), 0.1),
        (PAGE, 5),
        (Answer(GOOD.body, cut=5), 5),
        (Answer(b"", status=429), 5),
        (Answer(b"", status=500), 5),
        (BUSY, 5),
        (DROPPED, 5),
        (Answer(b'{"value": [1'), 5),
    ],
    ids=["late", "a page", "truncated", "429", "500", "503", "dropped", "half JSON"],
)
def test_every_trouble_is_asked_again_and_cured(server, trouble, timeout):
    server.say("/A", trouble, trouble, GOOD)
    (piece,) = fetch(asking(server, timeout), [request()], patience=QUICK)
    assert piece.frame.equals(pl.DataFrame({"value": [1.5]})) and piece.attempts == 3 == len(server.seen)


def test_trouble_without_end_is_reported_and_the_rest_goes_through(server):
    server.say("/A", PAGE)
    server.say("/B", GOOD)
    first, second = fetch(asking(server), [request("A"), request("B")], patience=QUICK)
    assert first.frame is None and first.attempts == 5 and "text/html" in str(first.problem)
    assert second.frame is not None and second.problem is None


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_asked_again(server, status):
    server.say("/A", Answer(status=status))
    (piece,) = fetch(asking(server), [request()], patience=QUICK)
    assert isinstance(piece.problem, RefusalError) and len(server.seen) == 1


def test_a_source_that_cannot_be_asked_stops_the_pull():
    def ask(asked):
        raise ConfigError("a token", "none")

    with pytest.raises(ConfigError, match="token"):
        list(fetch(ask, [request()]))


def test_retry_after_is_honoured_and_a_long_one_ends_the_request(server):
    server.say("/A", Answer(status=429, headers=(("Retry-After", "1"),)), GOOD)
    server.say("/B", Answer(status=429, headers=(("Retry-After", "3600"),)), GOOD)
    began = time.monotonic()
    a, b = fetch(asking(server), [request("A"), request("B")], patience=Patience(first=0.001, longest=2))
    assert 1.0 <= time.monotonic() - began < 4
    assert a.frame is not None and a.attempts == 2
    assert b.frame is None and b.attempts == 1


def test_retry_after_may_be_a_date():
    for text, low, high in (
        (email.utils.formatdate(time.time() + 90, usegmt=True), 85, 91),
        ("soon", 0, 0),
        ("", 0, 0),
    ):
        with pytest.raises(TransientError) as caught:
            demand_ok(503, "host", text)
        assert low <= caught.value.after <= high


@given(st.integers(0, 40), st.floats(0, 100), st.floats(0.01, 5), st.floats(5, 90))
def test_waits_stay_within_the_formula(attempt, after, first, longest):
    wait = Patience(first=first, longest=longest).wait(attempt, after)
    full = min(longest, first * 2.0**attempt)
    assert max(after, full / 2) <= wait <= max(after, full)


def test_a_server_that_is_down_is_not_asked_for_thousands(server, tmp_path):
    server.answer = lambda asked: DROPPED
    cache = Cache(tmp_path, TERMS)
    server.say("/held", GOOD)
    list(fetch(asking(server), [request("held")], cache=cache))
    many = [*(request(f"S{n}") for n in range(30)), request("held")]
    *lost, held = fetch(asking(server), many, cache=cache, patience=Patience(2, 0.001, 0.01, in_a_row=4))
    assert [piece.attempts for piece in lost] == [2] * 4 + [0] * 26
    assert "not asked" in str(lost[-1].problem) and held.frame is not None and held.attempts == 0


def test_empty_answers_are_errors_but_no_sign_of_a_server_that_is_down():
    def ask(asked):
        raise NoRowsError("rows", "none")

    pieces = list(fetch(ask, [request(str(n)) for n in range(6)], patience=Patience(2, 0.001, 0.001, in_a_row=2)))
    assert [piece.attempts for piece in pieces] == [2] * 6


def test_the_rate_is_kept(server):
    server.answer = lambda asked: GOOD
    began = time.monotonic()
    list(fetch(asking(server), [request(str(n)) for n in range(5)], rate=20))
    assert time.monotonic() - began >= 4 / 20


def test_exceptions_of_a_client_library_are_asked_again_others_are_not():
    def ask(asked):
        raise KeyError("close")

    (piece,) = fetch(ask, [request()], patience=QUICK, troubles=(KeyError,))
    assert piece.attempts == 5 and "KeyError" in str(piece.problem)
    with pytest.raises(KeyError):
        list(fetch(ask, [request()], patience=QUICK))


# --- the cache -------------------------------------------------------------------------------------------------------


def test_a_piece_is_kept_with_licence_request_time_and_hash_and_not_asked_again(server, tmp_path):
    server.say("/A", GOOD)
    cache = Cache(tmp_path, TERMS)
    (first,) = fetch(asking(server), [request()], cache=cache)
    (again,) = fetch(asking(server), [request()], cache=cache)
    assert len(server.seen) == 1 and again.attempts == 0
    assert again.frame.equals(first.frame) and (again.sha256, again.retrieved) == (first.sha256, first.retrieved)
    (about,) = tmp_path.rglob("*.json")
    told = json.loads(about.read_text())
    assert told["licence"] == {"text": "for tests", "redistribution": True} and told["rows"] == 1
    assert told["request"]["symbols"] == ["A"] and told["request"]["stop"] == "2020-01-31"


def test_no_secret_is_kept_or_shown(server, tmp_path):
    server.say("/A", GOOD)
    server.say("/B", DROPPED)
    pieces = list(fetch(asking(server), [request("A"), request("B")], cache=Cache(tmp_path, TERMS), patience=QUICK))
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"s3cret" not in kept and "s3cret" not in str(pieces)
    assert server.seen[0].query["api_key"] == "s3cret"


@pytest.mark.parametrize(
    "text",
    [
        "GET https://host/x?api_key=abc123&id=GDP", "{'token': 'abc123'}", "postgresql://me:abc123@host/db",
        "Authorization: abc123", 'apikey="abc123"', "password=abc123", "pwd=abc123", "token%3Dabc123",
        "{'Authorization': 'Bearer abc123'}", "postgresql://me:p/abc123@host/db", "postgresql://me:p@abc123@host/db",
    ],
)  # fmt: skip
def test_secrets_are_scrubbed_from_what_libraries_say(text):
    assert "abc123" not in scrubbed(text)


def test_a_request_is_named_by_all_that_changes_its_answer():
    changed = [
        request("B"), request(stop=None), request(start=date(2020, 1, 1)), request(place="other"), request(source="else"),
        request(table="news"),
    ]  # fmt: skip
    assert request().key == request().key
    assert len({request().key, *(each.key for each in changed)}) == 7


def held(cache, asked=None, retrieved=None):
    sha256 = hashlib.sha256(parquet(FRAME)).hexdigest()
    cache.write(Piece(asked or request(), FRAME, retrieved or datetime.now(UTC), sha256))


def test_a_piece_whose_last_day_was_not_over_is_asked_again_later(tmp_path):
    cache = Cache(tmp_path, TERMS)
    now = datetime.now(UTC)
    today, old = request(stop=now.date()), now - timedelta(hours=2)
    held(cache, today, now)
    assert cache.read(today) is not None
    held(cache, today, old)
    assert (cache.read(today) is None) == (old.date() == now.date())
    held(cache, request(stop=None), old)
    assert cache.read(request(stop=None)) is None
    held(cache, request(), old)
    assert cache.read(request()) is not None


@pytest.mark.parametrize("end", [".json", ".parquet"])
def test_a_corrupt_piece_is_named_set_aside_and_asked_again(server, tmp_path, end):
    server.say("/A", GOOD)
    cache = Cache(tmp_path, TERMS)
    (first,) = fetch(asking(server), [request()], cache=cache)
    (path,) = tmp_path.rglob(f"*{end}")
    path.write_bytes(path.read_bytes()[:-7])
    (again,) = fetch(asking(server), [request()], cache=cache)
    assert again.frame.equals(first.frame) and again.attempts == 1
    assert request().key in again.note and "set aside" in again.note
    assert list(tmp_path.rglob("*.corrupt"))
    (third,) = fetch(asking(server), [request()], cache=cache)
    assert third.attempts == 0 and not third.note


@settings(max_examples=60)
@given(where=st.integers(0, 10_000), bit=st.integers(0, 7), rows=st.booleans())
def test_no_flipped_bit_of_a_piece_goes_unseen(tmp_path_factory, where, bit, rows):
    cache = Cache(tmp_path_factory.mktemp("cache"), TERMS)
    held(cache)
    (path,) = cache.folder.rglob("*.parquet" if rows else "*.json")
    data = bytearray(path.read_bytes())
    data[where % len(data)] ^= 1 << bit
    path.write_bytes(data)
    try:
        piece = cache.read(request())
    except DataError as fault:
        assert str(path.parent) in str(fault)
    else:  # a letter of the licence or of the time may change; never a row
        assert not rows and (piece is None or piece.frame.equals(FRAME))


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "piece.json"
    write_atomic(path, b"first")

    def full(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomic(path, b"second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]
