"""A client with a small receive buffer that does not read for a while, twice in the middle of one result."""
import os, socket, struct, sys, time

s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1448)
s.connect(("127.0.0.1", int(sys.argv[1])))
send = lambda tag, body: s.sendall(tag + struct.pack("!i", len(body) + 4) + body)
read = s.makefile("rb").read

def message():
    tag, size = read(1), struct.unpack("!i", read(4))[0]
    read(size - 4)
    return tag

def ready():
    while message() != b"Z":
        pass

send(b"", struct.pack("!i", 0x30000) + b"user\0app\0database\0shop\0application_name\0slow\0\0")
ready()
send(b"Q", b"SELECT 1\0")
ready()
send(b"Q", b"SELECT n, repeat('x', 200) FROM generate_series(1, 300) n\0")
for row in range(302):
    if row in (2, 200):
        time.sleep(0.25)
    message()
assert message() == b"Z"
send(b"Q", b"SELECT 2\0")
ready()
send(b"X", b"")
