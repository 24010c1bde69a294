"""
Everything that can go wrong between us and Synapse, in one table, and what each must lead to.

A fault either may pass, so the request is sent again, or it lasts and ends the wait at once, with the error and the
words given here. No library decides which of the two: both transports are tested with the whole table, and all modes
of the sensor with one fault of each kind.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
import socket
import zlib
from dataclasses import dataclass
from typing import Any

from airflow_provider_synapse_livy.exceptions import (
    SparkSessionNotFoundError,
    SynapseLivyError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
)
from tests.support import sample_sessions as samples
from tests.support.scripted_server import Action, http, nothing, reset, then_reset, trickle

GOOD = http(200, samples.IDLE, x_ms_activity_id="activity-1")
_HEAD = GOOD.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
_IDLE = samples.as_json(samples.IDLE)
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
_ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


@dataclass(frozen=True)
class Fault:
    """
    A fault that lasts.

    :param action: what the server does.
    :param words: a pattern of the error's message; its dot matches line breaks, since a message has several lines.
    :param error: the type of the error.
    """

    action: Action
    words: str
    error: type[SynapseLivyError] = SynapseLivyResponseError

    @property
    def message(self) -> re.Pattern[str]:
        """The pattern of the error's message."""
        return re.compile(self.words, re.DOTALL)


@functools.cache
def _bomb() -> bytes:
    packing = zlib.compressobj(level=1, wbits=16 + zlib.MAX_WBITS)
    return b"".join(packing.compress(b" " * 1_000_000) for _ in range(100)) + packing.flush()


def _send_bomb(connection: socket.socket) -> None:
    connection.sendall(http(200, _bomb(), Content_Encoding="gzip"))


#: What may pass: the request is sent again.
PASSING: dict[str, Action] = {
    "408": http(408),
    "409": http(409, {"error": {"code": "Conflict", "message": "Another operation is in progress."}}),
    "423": http(423, {"code": "Locked", "message": "The resource is locked."}),
    "429": http(429, b"Your request has hit layered throttling rate-limit"),
    "429, Retry-After negative": http(429, Retry_After="-5"),
    "429, Retry-After zero": http(429, Retry_After="0"),
    "429, Retry-After past": http(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "429, Retry-After in 10 years": http(429, Retry_After="315360000"),
    "429, Retry-After in 10 years, as a date": http(429, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"),
    "429, Retry-After beyond all numbers": http(429, Retry_After="9" * 400),
    "429, Retry-After in words": http(429, Retry_After="soon"),
    "429, Retry-After beyond the calendar": http(429, Retry_After="Mon, 01 Jan 0001 00:00:00 -0000"),
    "430": http(430, {"error": {"code": "TooManyRequestsForCapacity", "message": "A rate limit was hit."}}),
    "500": http(500, {"error": {"code": "UnknownError", "message": "..."}}),
    "502": http(502, b"<html><title>Bad Gateway</title></html>"),
    "503": http(503),
    "503, and 10 MB": http(503, b"<title>" * 1_500_000),
    "504": http(504),
    "reset before the headers": reset,
    "reset amid the headers": then_reset(GOOD[:40]),
    "reset after the headers": then_reset(_HEAD),
    "reset amid the body": then_reset(GOOD[:-100]),
    "closed without an answer": b"",
    "half the headers": GOOD[:40],
    "half a body": GOOD[:-100],
    "half a body of unknown length": _ENDLESS + _IDLE[:-100],
    "half a chunk": _CHUNKED + b"1000\r\n" + _IDLE[:100],
    "chunks of no length": _CHUNKED + b"zzz\r\n" + _IDLE,
    "wrong Content-Length": http(200, samples.IDLE, Content_Length="100000"),
    "Content-Length too short": http(200, samples.IDLE, Content_Length="1000"),
    "empty body": http(200),
    "gzip garbage": http(200, b"no gzip", Content_Encoding="gzip"),
    "half a gzip": http(200, gzip.compress(_IDLE, mtime=0)[:-100], Content_Encoding="gzip"),
    "another protocol": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "a header of 100 kB": http(200, samples.IDLE, x_novelty="x" * 100_000),
}

#: The same, where only a timeout ends it.
SLOW: dict[str, Action] = {
    "nothing": nothing,
    "endless slow body": trickle(_ENDLESS, b" "),
    "endless slow chunk": trickle(_CHUNKED + b"100000\r\n", b" "),
}

#: Headers that never end, a piece at a time. A worker's timeout holds for each piece; a triggerer's for the whole.
SLOW_HEADERS: dict[str, Action] = {
    "endless slow headers": trickle(b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n"),
    "endless slow header": trickle(b"HTTP/1.1 200 OK\r\nx-a: ", b"b"),
    "endless 100 Continue": trickle(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}

_NOT_SYNAPSES = r"\nFix: check the host and any proxy in between[^\n]*"

#: What lasts: it would be the same the next time, so the wait ends at once.
LASTING: dict[str, Fault] = {
    "204": Fault(http(204), rf"answered 204\.{_NOT_SYNAPSES}\nThe body is empty"),
    "304": Fault(http(304), "answered 304.*redirects to None, which is not followed"),
    "307 to no address": Fault(
        http(307, location="http://[/"), r"answered 307.*redirects to http://\[/, which is not followed"
    ),
    "400": Fault(
        http(400, {"Message": "not expected"}),
        r"answered 400\.\nFix: [^\n]*livy_api_version[^\n]*\nSynapse says: not expected",
    ),
    "402": Fault(http(402), rf"answered 402\.{_NOT_SYNAPSES}"),
    "403": Fault(
        http(403), r"answered 403\.\nFix: give the identity [^\n]*Synapse Compute Operator", SynapseLivyPermissionError
    ),
    "404": Fault(http(404), r"answered 404\.\nFix: check the id, and that the pool exists", SparkSessionNotFoundError),
    "404, in gzip garbage": Fault(
        http(404, b"no gzip", Content_Encoding="gzip"),
        r"answered 404\..*\nThe body can't be decompressed",
        SparkSessionNotFoundError,
    ),
    "407": Fault(http(407), rf"answered 407\.{_NOT_SYNAPSES}"),
    "HTML": Fault(
        http(200, b"<html><title>Log in</title>"),
        rf"response 200 is not JSON\.{_NOT_SYNAPSES}\nThe body is an HTML page, 'Log in'",
    ),
    "text": Fault(http(200, b"fine"), rf"response 200 is not JSON\.{_NOT_SYNAPSES}\nThe body begins: fine"),
    "null": Fault(http(200, b"null"), r"is not a Spark session\..*not a JSON object"),
    "a list": Fault(http(200, b"[]"), r"is not a Spark session\..*not a JSON object"),
    "a string": Fault(http(200, b'"x"'), r"is not a Spark session\..*not a JSON object"),
    "true": Fault(http(200, b"true"), r"is not a Spark session\..*not a JSON object"),
    "NaN": Fault(http(200, b'{"id": 12, "state": "idle", "x": NaN}'), "is not JSON"),
    "an infinite number": Fault(
        http(200, b'{"id": 12, "state": "idle", "x": 1e999}'), r"is not JSON\..*an infinite number"
    ),
    "a huge integer": Fault(
        http(200, b'{"id": 12, "state": "idle", "x": 18446744073709551616}'),
        r"is not JSON\..*a number of more than 64 bits",
    ),
    "a huge id": Fault(
        http(200, b'{"id": %s, "state": "idle"}' % (b"9" * 4000)),
        r"is not JSON\..*a number of more than 64 bits",
    ),
    "an integer beyond all bounds": Fault(http(200, b'{"id": 12, "x": %s}' % (b"9" * 100_000)), "is not JSON"),
    "invalid UTF-8": Fault(http(200, b'{"id": 12, "state": "idle", "name": "\xff"}'), r"is not JSON\..*unicode"),
    "half a surrogate": Fault(http(200, rb'{"id": 12, "state": "idle", "name": "\ud800"}'), r"is not JSON\..*escape"),
    "UTF-16": Fault(http(200, json.dumps(samples.IDLE).encode("utf-16")), "is not JSON"),
    "deep nesting": Fault(
        http(200, b'{"id": 12, "state": "idle", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        r"is not JSON\..*recursion",
    ),
    "another session": Fault(http(200, samples.session(id=1)), "is about Spark session 1 instead"),
    "a batch": Fault(http(200, samples.session(jobType="SparkBatch")), "describes a Spark batch job"),
    "an id in digits": Fault(http(200, samples.session(id="12")), r"has another form than documented\..*fields: id\b"),
    "no id": Fault(http(200, samples.session(id=...)), r"is not a Spark session\..*fields: id\b"),
    "10 MB": Fault(http(200, b" " * 10_000_000 + _IDLE), "has more than 4 MB"),
    "10 MB in one name": Fault(http(200, b'{"' + b"x" * 10_000_000 + b'": 1}'), "has more than 4 MB"),
    "10 MB in chunks": Fault(_CHUNKED + b"989680\r\n" + b" " * 10_000_000 + b"\r\n0\r\n\r\n", "has more than 4 MB"),
    "100 MB in 400 kB of gzip": Fault(_send_bomb, "has more than 4 MB"),
    "an id of 50,000 numbers": Fault(
        http(200, b'{"id": [%s1], "state": "idle"}' % (b"1," * 50_000)),
        r"has another form than documented\..*fields: id\b",
    ),
    "an encoding that was not asked for": Fault(http(200, b"\x8b\x02\x80\x03", Content_Encoding="br"), "is not JSON"),
}

#: What no API should send, and is read all the same.
ODD: dict[str, Action] = {
    "50,000 wrong lines": http(200, b'{"id": 12, "state": "idle", "log": [%s1]}' % (b"1," * 50_000)),
    "a name twice": http(200, b'{"id": 12, "state": "dead", "state": "idle"}'),
    "a byte order mark": http(200, b"\xef\xbb\xbf" + _IDLE),
}

#: Certificates that are wrong for good: how they differ from a good one, and a pattern of what the error says.
CERTIFICATES: dict[str, tuple[dict[str, Any], str]] = {
    "expired": (
        {"days": (-2, -1)},
        r"the certificate of the server has expired\.\nFix: .*clock.*\nOpenSSL says: ",
    ),
    "not valid yet": (
        {"days": (1, 2)},
        r"the certificate of the server is not valid yet\.\nFix: .*clock.*\nOpenSSL says: ",
    ),
    "wrong name": (
        {"address": "127.0.0.9"},
        r"the certificate of the server is for another name\.\nFix: .*host.*\nOpenSSL says: ",
    ),
    "self-signed": (
        {"own": False},
        r"the certificate of the server is not trusted\.\nFix: .*verify.*\nOpenSSL says: self-signed",
    ),
}

#: One fault of each kind that may pass, for the modes: a status, the workspace's own (429), one whose announced pause
#: is not believed, a broken connection, a response that the library or we ourselves find truncated, one that no
#: library can parse, and silence.
PASSING_KINDS = (
    "429",
    "429, Retry-After in 10 years",
    "503",
    "reset before the headers",
    "half a body",
    "half a gzip",
    "another protocol",
    "nothing",
)

#: One fault of each kind that lasts, for the modes: each type of error, and each kind of words for it.
LASTING_KINDS = (
    "307 to no address",
    "400",
    "403",
    "404",
    "HTML",
    "null",
    "another session",
    "a batch",
    "an infinite number",
    "10 MB",
)
