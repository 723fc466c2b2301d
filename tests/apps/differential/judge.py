"""One case through one proxy, what came of it, and whether that is right."""

import socket
import time
from dataclasses import dataclass, field

import strict
from corpus import ACCEPT, BAD, GOOD, REFUSE

# A proxy that has said nothing after this long waits for more.
SILENCE_SECONDS = 2.0
# After the answer: time for bytes that should not come. After a 400 the connection is to be closed.
AFTER_SECONDS = 0.03

# What `verdict` can be.
ACCEPTED, REFUSED, WAITS, WHOLE, TOLD, CUT = "accepted", "refused", "waits", "whole", "told", "cut"
LAXER = "lets through what another one refuses"


@dataclass
class Outcome:
    verdict: str
    detail: str = ""
    problems: list = field(default_factory=list)  # wrong whoever does it

    def __str__(self):
        words = [self.verdict, self.detail, "(!)" if self.problems else ""]
        return " ".join(word for word in words if word)

    def is_refused_by_status(self):
        return self.verdict == REFUSED and self.detail[:1] in "45"


def talk(proxy, raw, method, count):
    """(statuses, bytes, is closed): what a client gets that sends `raw` and waits for `count` answers."""
    received, is_closed = b"", False
    with proxy.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            client.sendall(raw)
        except OSError:
            pass  # it was refused before its end
        deadline = time.monotonic() + SILENCE_SECONDS
        while not is_closed and (left := deadline - time.monotonic()) > 0:
            client.settimeout(left)
            try:
                piece = client.recv(65536)
                received += piece
                is_closed = not piece
            except TimeoutError:
                break
            except OSError:
                is_closed = True
            statuses = statuses_of(received, method, is_closed)
            if len(statuses) >= max(count, 1) and 400 not in statuses:
                deadline = min(deadline, time.monotonic() + AFTER_SECONDS)
    return statuses_of(received, method, is_closed), received, is_closed


def statuses_of(received, method, is_closed):
    statuses = []
    try:
        while received:
            message, received = strict.read_response(received, method, is_closed)
            statuses.append(message.start[0])
    except strict.Incomplete:
        pass
    except strict.Malformed:
        statuses.append(0)
    return statuses


# --- requests ----------------------------------------------------------------------------------------------------


def send_request(proxy, case):
    mark = proxy.backend.mark()
    method = "HEAD" if case.raw.startswith(b"HEAD ") else "GET"
    statuses, received, is_closed = talk(proxy, case.raw, method, case.count)
    time.sleep(AFTER_SECONDS)
    messages, problems = [], []
    seen = proxy.backend.since(mark)
    for data in seen:
        try:
            while data:
                message, data = strict.read_request(data)
                messages.append(message)
        except strict.Incomplete:
            pass
        except strict.Malformed as malformed:
            problems.append(f"the backend got {malformed}")
    if any(message.start[1] == b"/smuggled" for message in messages):
        problems.append("a smuggled request reached the backend")
    if len(messages) > case.count:
        problems.append(f"the backend got {len(messages)} requests of {case.count}")
    for name in case.absent:
        if any(name.encode() in message.names() for message in messages):
            problems.append(f"the backend got the field {name}")
    said = ",".join(map(str, statuses))
    if statuses and 200 <= statuses[0] < 400:
        if not messages and not problems:
            problems.append("it was answered without the backend")
        return Outcome(ACCEPTED, "" if statuses == [200] else said, problems)
    if messages:
        problems.append("the backend got a whole request that was not answered")
    if seen and statuses[:1] == [400] and not case.name.startswith("chunks:"):
        problems.append("the backend saw some of what was refused")
    if 400 in statuses and not is_closed:
        problems.append("the connection stays open after a 400")
    if statuses or is_closed:
        return Outcome(REFUSED, said if any(statuses) else "not HTTP" if received else "closed", problems)
    return Outcome(WAITS, "", problems)


def request_problems(case, own, theirs):
    problems = list(own.problems)
    if case.want == REFUSE and own.verdict != REFUSED:
        problems.append("should be refused")
    if case.want == ACCEPT and own.verdict != ACCEPTED:
        problems.append("should be accepted")
    if own.verdict == ACCEPTED and any(other.is_refused_by_status() for other in theirs.values()):
        problems.append(LAXER)
    return problems


# --- answers -----------------------------------------------------------------------------------------------------


def send_answer(proxy, case):
    number = len(proxy.backend.answers)
    path = f"/answer/{number}".encode()
    proxy.backend.answers[path] = case
    raw = b"%s %s HTTP/1.1\r\nHost: app\r\n\r\n" % (case.method.encode(), path)
    _, received, is_closed = talk(proxy, raw, case.method, 1)
    outcome = look_at_answer(case, received, is_closed)
    # The next requests must not get anything that this one left behind.
    for turn in range(2):
        after = f"/after/{number}/{turn}".encode()
        _, received, _ = talk(proxy, b"GET %s HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n" % after, "GET", 1)
        if not received.startswith(b"HTTP/1.1 200 ") or not received.endswith(b"\r\n\r\n" + after):
            outcome.problems.append(f"the next request got {received[-60:]!r}")
    return outcome


def look_at_answer(case, received, is_closed):
    try:
        message, rest = strict.read_response(received, case.method, is_closed)
    except strict.Incomplete:
        return Outcome(CUT if is_closed else WAITS)
    except strict.Malformed as malformed:
        return Outcome(WHOLE, "malformed", [f"the client got {malformed}"])
    status = message.start[0]
    if status in (502, 503, 504) or status == 500:
        return Outcome(TOLD, str(status))
    problems = []
    if rest:
        problems.append(f"the client got {rest[:40]!r} behind the answer")
    if case.want == GOOD and message.body != case.body:
        problems.append(f"the client got the body {message.body[:40]!r}")
    for name in case.absent:
        if name.encode() in message.names():
            problems.append(f"the client got the field {name}")
    return Outcome(WHOLE, "" if status == 200 else str(status), problems)


def answer_problems(case, own, theirs):
    problems = list(own.problems)
    if case.want == GOOD and own.verdict != WHOLE:
        problems.append("should arrive whole")
    if case.want == BAD and own.verdict not in (TOLD, CUT):
        problems.append("should be 502 or look cut")
    if own.verdict == WAITS and case.want != BAD:
        problems.append("the client waits")
    if own.verdict == WHOLE and any(other.verdict in (TOLD, CUT) for other in theirs.values()):
        problems.append(LAXER)
    return problems
