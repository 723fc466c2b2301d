"""Which connections the kernel still has to an instance, from /proc/net/tcp.

An instance is left with a connection while its own end is ESTABLISHED. Once the proxy's FIN has arrived the
end is CLOSE_WAIT, and the app loses nothing by being stopped. While the table changes a read of it may miss
an entry; the app's report, which asks each socket, does not.
"""

from pathlib import Path

HOST = "127.0.0.1"
ESTABLISHED = "01"  # include/net/tcp_states.h
PORTS = range(20_000, 30_000)  # below those that the kernel gives to outgoing connections


def established(table: str, port: int) -> int:
    """How many ends on this local port are ESTABLISHED, in the text of /proc/net/tcp."""
    count, wanted = 0, f":{port:04X} "
    for line in table.splitlines()[1:]:
        if wanted not in line:
            continue  # of tens of thousands in TIME_WAIT, perhaps
        fields = line.split()
        if len(fields) > 3 and fields[3] == ESTABLISHED and int(fields[1].rpartition(":")[2], 16) == port:
            count += 1
    return count


def sockets_of(port: int) -> int:
    return established(Path("/proc/net/tcp").read_text(), port)
