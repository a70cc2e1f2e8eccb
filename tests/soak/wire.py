"""A PostgreSQL client that says exactly what it is told to, and waits only where it is told to.

Knows SCRAM-SHA-256 and nothing of TLS. Needs nothing but Python.
"""

import base64
import functools
import hashlib
import hmac
import os
import socket
import struct

ANSWER_WITHIN = 60


class Refused(Exception):
    """An ErrorResponse."""

    def __init__(self, fields):
        super().__init__(f"{fields.get('C')}: {fields.get('M')}")
        self.sqlstate = fields.get("C")


class Lost(Exception):
    """The connection is gone."""


def frame(tag, body=b""):
    return tag + struct.pack(">I", len(body) + 4) + body


def query(text):
    return frame(b"Q", text.encode() + b"\0")


def prepared(text, value_bytes):
    """Parse, and the head of a Bind with one text value of so many bytes, which the caller sends behind it."""
    parse = frame(b"P", b"\0" + text.encode() + b"\0" + struct.pack(">HI", 1, 17))
    head = b"\0\0" + struct.pack(">HHHi", 1, 1, 1, value_bytes)
    length = 4 + len(head) + value_bytes + 2
    return parse + b"B" + struct.pack(">I", length) + head


@functools.lru_cache(maxsize=4096)
def salted(password, salt, iterations):
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


class Client:
    def __init__(self, address, user, password, database="app", name="soak", receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(ANSWER_WITHIN)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        parameters = f"user\0{user}\0database\0{database}\0application_name\0{name}\0\0".encode()
        self.send(struct.pack(">II", len(parameters) + 8, 3 << 16) + parameters)
        self.log_in(password)

    def log_in(self, password):
        nonce = base64.b64encode(os.urandom(18)).decode()
        bare = f"n=,r={nonce}"
        while True:
            tag, body = self.read()
            if tag == b"Z":
                return
            if tag != b"R":
                continue
            code = struct.unpack(">I", body[:4])[0]
            if code == 10:
                first = b"n,," + bare.encode()
                self.send(frame(b"p", b"SCRAM-SHA-256\0" + struct.pack(">I", len(first)) + first))
            elif code == 11:
                server = body[4:].decode()
                parts = dict(part.split("=", 1) for part in server.split(","))
                key = salted(password, base64.b64decode(parts["s"]), int(parts["i"]))
                own = hmac.digest(key, b"Client Key", "sha256")
                last = f"c=biws,r={parts['r']}"
                signed = f"{bare},{server},{last}".encode()
                mask = hmac.digest(hashlib.sha256(own).digest(), signed, "sha256")
                proof = bytes(a ^ b for a, b in zip(own, mask))
                self.send(frame(b"p", f"{last},p={base64.b64encode(proof).decode()}".encode()))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionError) as error:
            raise Lost(str(error)) from error

    def read(self):
        """The next message: its type and body. Raises what an ErrorResponse says."""
        while len(self.buffer) < 5 or len(self.buffer) < 1 + struct.unpack(">I", self.buffer[1:5])[0]:
            try:
                chunk = self.socket.recv(65536)
            except ConnectionError as error:
                raise Lost(str(error)) from error
            if not chunk:
                raise Lost("closed")
            self.buffer += chunk
        length = 1 + struct.unpack(">I", self.buffer[1:5])[0]
        tag, body = self.buffer[:1], self.buffer[5:length]
        self.buffer = self.buffer[length:]
        if tag == b"E":
            fields = {part[:1].decode(): part[1:].decode() for part in body.split(b"\0") if part}
            raise Refused(fields)
        return tag, body

    def until_ready(self):
        """Reads to the next ReadyForQuery; gives the first column of every row, or raises the error that came."""
        rows, error = [], None
        while True:
            try:
                tag, body = self.read()
            except Refused as refused:
                if error is None:
                    error = refused
                continue
            except Lost:
                if error:
                    raise error from None
                raise
            if tag == b"D":
                length = struct.unpack(">i", body[2:6])[0]
                rows.append(None if length < 0 else body[6:6 + length].decode())
            if tag == b"Z":
                if error:
                    raise error
                return rows

    def ask(self, text):
        self.send(query(text))
        return self.until_ready()

    def close(self):
        self.socket.close()
