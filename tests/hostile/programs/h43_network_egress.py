"""The internet, by name and by number; prints "held" and fails when none of it can be reached."""

import socket

got = []
for family, kind, address in ((socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 80)), (socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.53", 53)),
                              (socket.AF_INET6, socket.SOCK_STREAM, ("2001:db8::1", 80)), (socket.AF_INET, socket.SOCK_RAW, ("192.0.2.1", 0)),
                              (socket.AF_PACKET, socket.SOCK_RAW, ("lo", 0))):
    try:
        s = socket.socket(family, kind)
        got.append(f"socket {family} {kind}")
        s.settimeout(0.2)
        s.connect(address)
        got.append(f"connected {address}")
    except OSError:
        pass
for name in ("example.org", "localhost.example"):
    try:
        got.append(socket.getaddrinfo(name, 80))
    except OSError:
        pass
print(got or "held")
raise SystemExit(1)
