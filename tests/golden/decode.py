#!/usr/bin/env python3
"""Reads Countersign's log without Countersign: canonical records, and whole segment files.

    decode.py entries.jsonl      checks golden vectors: lines of {"name", "bytes": hex, "record": {...}}
    decode.py FILE.seg           checks a segment's checksums and prints its records, one JSON object a line

The formats are described in src/audit/entry.rs and src/journal/segment.rs. Needs nothing but Python 3.
"""
import datetime, hashlib, json, sys

KINDS = ("? boot session_start session_end login attempt outcome transaction_end request_event decision rules_change"
         " people_change log_query text certificates_change standing_grant ? sign_in notification values values_erased pruned").split()
NAMES = {i + 1: name for i, name in enumerate(
    "boot version principal owner profile source upstream database database_user application_name tls protocol class"
    " verdict rule request outcome tag sqlstate message event by detail decision approver reason channel change file"
    " name query type_name format value hex key grant decided_in read_as".split())}
NAMES |= {0x2C: "method", 0x2E: "rules_text", 0x2F: "retention", 0x30: "tables", 0x31: "requests", 0x38: "column_labels"}
NAMES |= {0x40 + i: name for i, name in enumerate(
    "number text_bytes rows success index type_oid bytes cut lane durable found"
    " pruned pruned_now segments oldest newest".split())}
NAMES |= {0x50: "second_factor_at"}
NAMES |= {0x80 + i: name for i, name in enumerate(
    "session attempt text_sha256 fingerprint digest generation text".split())}
NAMES |= {0x8B: "commitment", 0x8C: "salt", 0x8D: "erased", 0x8E: "roots_sha256"}
NAMES |= {0xC0: "parameters", 0xC1: "claimed", 0xC2: "positions", 0xC3: "labels", 0xC5: "kept"}
LISTS = {"tables", "requests", "column_labels", "parameters", "claimed", "positions", "labels", "kept", "erased"}
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def fields(data):
    out, at, last = {}, 0, -1
    while at < len(data):
        tag, length, shift = data[at], 0, 0
        while True:
            at += 1
            length |= (data[at] & 0x7F) << shift
            shift += 7
            if not data[at] & 0x80:
                break
        raw, at = data[at + 1:at + 1 + length], at + 1 + length
        assert len(raw) == length and tag >= last, "cut short or out of order"
        last, name = tag, NAMES[tag]
        value = (raw.decode() if tag < 0x40 else int.from_bytes(raw, "big") if tag < 0x80 else
                 raw if tag < 0xC0 else fields(raw))
        if name in LISTS:
            out.setdefault(name, []).append(value)
        else:
            out[name] = value
    return out


def crockford(raw):
    number = int.from_bytes(raw, "big")
    return "".join(ALPHABET[number >> place * 5 & 31] for place in range(12, -1, -1))


def values(data):
    """The values that stand before an attempt, by parameter; checks nothing."""
    out = fields(data[10:])
    return out["attempt"] + out["number"].to_bytes(8, "big"), {kept["index"]: kept for kept in out.get("kept", [])}


def join(parameters, kept):
    """Puts each value beside its parameter, if it is the one that the record commits to."""
    for parameter in parameters:
        if "commitment" not in parameter:
            continue
        found = kept.get(parameter["index"])
        if found is None:
            parameter["erased"] = True
        else:
            form = "value" if "value" in found else "hex"
            told = b"countersign value 1\0" + found["salt"] + bytes([1 + (form == "hex")]) + found[form].encode()
            assert hashlib.sha256(told).digest() == parameter["commitment"], "a value is not the one that was recorded"
            parameter |= {form: found[form], "salt": found["salt"].hex()}
        parameter["commitment"] = parameter["commitment"].hex()


def record(data, beside=None):
    assert data[0] == 1, "an unknown version"
    out = {"kind": KINDS[data[1]]} | fields(data[10:])
    whose, kept = values(beside) if beside else (None, {})
    if "attempt" in out:
        is_its_own = whose == out["attempt"] + out["number"].to_bytes(8, "big")
        join(out.get("parameters", []), kept if is_its_own else {})
    out["time"] = int.from_bytes(data[2:10], "big")
    out |= {name: when(out[name]) for name in ("time", "second_factor_at", "oldest", "newest") if name in out}
    if "attempt" in out:
        out["attempt"] = f"{crockford(out['attempt'])}-{out.pop('number')}"
    if "success" in out:
        out["success"] = bool(out["success"])
    for parameter in out.get("parameters", []):
        parameter |= {"cut": True} if "cut" in parameter else {}
        parameter |= {"redacted": parameter.pop("column_labels")} if "column_labels" in parameter else {}
    for claim in out.get("claimed", []):
        claim.setdefault("value", "")
    if "labels" in out:
        out["labels"] = {label["key"]: label.get("value", "") for label in out["labels"]}
    for name, value in out.items():
        if isinstance(value, bytes):
            out[name] = crockford(value) if name == "session" else statement(value) if name == "text" else value.hex()
    return out


def when(micros):
    text = (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def statement(raw):
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "\\x" + raw.hex()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def segment(data):
    """Yields the canonical bytes of each record and the values before it; complains if a checksum does not match."""
    assert data[:8] == b"csjrnl\x00\x01", "no segment"
    crc = int.from_bytes(data[12:16], "big")
    assert crc == crc32c(data[:12] + bytes(4) + data[16:64]), "the header's checksum does not match"
    at, beside = 64, None
    while at + 8 <= len(data) and any(data[at:at + 8]):
        length = int.from_bytes(data[at:at + 4], "big")
        payload = data[at + 8:at + 8 + length]
        crc = crc32c(data[at:at + 4] + payload, crc)
        assert crc == int.from_bytes(data[at + 4:at + 8], "big"), f"the checksum at byte {at} does not match"
        if payload[:4] == b"\x00end":
            return
        if KINDS[payload[1]] == "values":
            beside = payload
        else:
            yield payload, beside
            beside = None
        at += 8 + length


def main():
    for name in sys.argv[1:]:
        if name.endswith(".seg"):
            with open(name, "rb") as file:
                for payload, beside in segment(file.read()):
                    print(json.dumps(record(payload, beside)))
        else:
            with open(name, encoding="utf-8") as file:
                vectors = [json.loads(line) for line in file]
            for vector in vectors:
                found = record(bytes.fromhex(vector["bytes"]), bytes.fromhex(vector.get("values", "")))
                assert found == vector["record"], f"{vector['name']}:\n{found}\n{vector['record']}"
            print(f"{len(vectors)} vectors agree")


if __name__ == "__main__":
    main()
