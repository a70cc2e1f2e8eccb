#!/usr/bin/env python3
"""Verifies a Countersign log without Countersign: segments, texts, tree, checkpoints, anchors, proofs.

    verify.py DATA_DIR [ANCHOR...]      the folder that `serve` or `demo --keep` left; needs its `journal` and `log.pub`
    verify.py --proof FILE LOG.PUB      one record's proof, without the log
    verify.py --vectors tree.json       golden vectors

The formats are in docs/log.md. Needs nothing but Python 3.11 and `decode.py` beside it; slow and plain on purpose.
"""
import base64, datetime, functools, hashlib, itertools, json, os, pathlib, struct, sys, time
import decode

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
unbase64 = functools.partial(base64.b64decode, validate=True)

def read(*path):
    return pathlib.Path(*path).read_bytes()
def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()
def root(hashes):
    while len(hashes) > 1:  # the last one without a neighbour goes up as it is, which is the definition's split
        hashes = ([sha256(b"\1", *pair) for pair in zip(hashes[::2], hashes[1::2])] + hashes[len(hashes) & ~1:])
    return hashes[0] if hashes else sha256()
def root_by_proof(index, size, leaf, proof):
    """The root that the proof leads to, by the recursive definition."""
    assert bool(proof) == (size > 1), "the proof is too short or too long"
    if size == 1:
        return leaf
    half = 1 << (size - 1).bit_length() - 1
    if index >= half:
        return sha256(b"\1", proof[-1], root_by_proof(index - half, size - half, leaf, proof[:-1]))
    return sha256(b"\1", root_by_proof(index, half, leaf, proof[:-1]), proof[-1])

def point(raw):
    """Decodes a point of Ed25519 (RFC 8032, 5.1.3)."""
    number = int.from_bytes(raw, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    x = x * pow(2, (P - 1) // 4, P) % P if (x * x - x2) % P else x
    assert y < P and (x * x - x2) % P == 0, "no point"
    return (x if x & 1 == sign else P - x, y)
def add(a, b):
    product = D * a[0] * b[0] * a[1] * b[1]
    return ((a[0] * b[1] + b[0] * a[1]) * pow(1 + product, P - 2, P) % P,
            (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, P - 2, P) % P)
def times(number, a):
    return (0, 1) if not number else add(times(number - 1, a), a) if number & 1 else times(number >> 1, add(a, a))
def is_signed(key, message, signature):
    base = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    s = int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    return s < L and times(s, base) == add(point(signature[:32]), times(k, point(key)))
def public_key(text):
    name, key_id, raw = text.strip().split("+", 2)
    raw = unbase64(raw)
    assert raw[0] == 1 and sha256(name.encode(), b"\n", raw)[:4].hex() == key_id, "the key is damaged"
    return name, raw[1:]
def checkpoint(note, key):
    """Size, root and time (microseconds) of a signed note, once its signature is verified."""
    text, signature = note.split("\n\n", 1)
    name, size, top, when = text.split("\n")[:4]
    dash, signer, raw = signature.rstrip("\n").split(" ")
    raw = unbase64(raw)
    assert dash == "\u2014" and name == signer == key[0] and when.startswith("time "), "a checkpoint of another log"
    assert raw[:4] == sha256(key[0].encode(), b"\n\1", key[1])[:4], "a checkpoint of another key"
    assert is_signed(key[1], text.encode() + b"\n", raw[4:]), f"the checkpoint at {size} is not signed by this key"
    since = datetime.datetime.fromisoformat(when[5:]) - datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
    return int(size), unbase64(top), since // datetime.timedelta(microseconds=1)
def notes(path):
    blocks = read(path).decode().split("\n\n")
    assert blocks.pop() == "" and len(blocks) % 2 == 0, f"{path} is torn"
    return [f"{text}\n\n{signature}\n" for text, signature in zip(blocks[::2], blocks[1::2])]

def pruned(folder):
    """What is gone by retention: how many leaves, a root of each 4,096 of them, where lanes begin, and who says so."""
    if not (file := pathlib.Path(folder, "tree", "pruned")).exists():
        return 0, [], {}, None
    data = file.read_bytes()
    magic, gone, leaf, number, *told, lane, lanes, crc = struct.unpack(">8s7Q2HI", data[:72])
    end = 72 + 24 * lanes
    assert magic == b"csprun\0\1" and (len(data) - end) * 128 == gone, "tree/pruned is damaged"
    assert crc == decode.crc32c(data[:68] + bytes(4) + data[72:end]), "tree/pruned is damaged"
    begins = {row[0]: row[1:] for row in struct.iter_unpack(">H6x2Q", data[72:end])}
    return gone, [data[at:at + 32] for at in range(end, len(data), 32)], begins, (lane, number, leaf, told)

def check_pruned(gone, roots, record, leaf, said, signed):
    """A signed record says what is gone: how much, what stays of it, and that its time was over."""
    told, at, now = decode.fields(record[10:]), int.from_bytes(record[2:10], "big"), time.time_ns() // 1000
    keep = int(told["retention"][:-1]) * {"d": 86400, "h": 3600, "s": 1}[told["retention"][-1]]
    assert leaf == sha256(b"\0", record) and record[1] == 21, "the record of the pruning is not signed"
    assert (told["pruned"], told["roots_sha256"]) == (gone, sha256(*roots)), "what was pruned is not what was said"
    assert [told["oldest"], told["newest"], at, keep] == said, "tree/pruned does not tell what the record says"
    covered = next(when for size, _, when in signed if size >= gone)
    assert keep >= 86400 and max(told["newest"], covered) + keep * 10**6 <= at, "pruned too early"
    assert told["newest"] + keep * 10**6 <= now, "pruned too early by this machine's clock"

def lane_records(folder, names, first):
    """The canonical bytes of a lane's records in order, None where they are gone, every text checked on the way."""
    files, names = [], [name for name in names if int(name.split("-")[2].split(".")[0]) >= first]
    for name in sorted(names, reverse=True):
        data = read(folder, name)
        number = int(name.split("-")[2].split(".")[0])
        if number != files[-1][1] if files else not any(data[:64]):  # left aside after a failure, or not begun
            continue
        previous, previous_end = (int.from_bytes(data[at:at + 8], "big") for at in (24, 32))
        assert int.from_bytes(data[16:24], "big") == number, f"{name} is another segment"
        files.append((data[:files[-1][2] if files else len(data)], previous, previous_end, name))
    assert not files or files[-1][1] == 2**64 - 1 or files[-1][1] < first, "the lane's first segment is missing"
    records, texts = [None] * int.from_bytes(files[-1][0][40:48], "big") if first and files else [], set()
    for data, _, _, name in reversed(files):
        assert int.from_bytes(data[40:48], "big") == len(records), f"{name} does not begin at record {len(records)}"
        texts = texts if data[11] == 1 else set()
        for payload, values in decode.segment(data):
            kind, fields = decode.KINDS[payload[1]], decode.fields(payload[10:])
            if kind == "text":
                assert sha256(fields["text"]) == fields["text_sha256"], f"a text in {name} was changed"
                texts.add(fields["text_sha256"])
            else:
                decode.record(payload, values)  # complains if a value is not the one that the record commits to
                assert kind != "attempt" or fields["text_sha256"] in texts, f"a text is missing in {name}"
                records.append(payload)
    return records

def verify_log(data_dir, anchors):
    folder = os.path.join(data_dir, "journal")
    key = public_key(read(data_dir, "log.pub").decode())
    gone, roots, begins, said = pruned(folder)
    names = sorted(name for name in os.listdir(folder) if name.startswith("lane-") and name.endswith(".seg"))
    lanes = {lane: lane_records(folder, list(files), begins.get(lane, (0, 0))[0])
             for lane, files in itertools.groupby(names, lambda name: int(name.split("-")[1]))}
    runs = read(folder, "tree", "runs")
    assert runs[:8] == b"cstree\0\1" and len(runs) % 32 == 0, "runs is damaged"
    leaves, taken, firsts = [], {}, {}
    for at in range(32, len(runs), 32):
        start, first, count, lane, crc = struct.unpack(">3QH2xI", runs[at:at + 32])
        assert crc == decode.crc32c(runs[at:at + 28]), "runs is damaged"
        begin = first if gone else begins.get(lane, (0, 0))[1]  # of a log that was begun anew, its lanes are not whole
        assert start == len(leaves) and first == taken.get(lane, begin), "a run does not follow on the one before"
        some = lanes[lane][first:first + count]
        kept = some[max(gone - start, 0):]
        assert len(some) == count and None not in kept, f"records of lane {lane} from {first} on are missing"
        leaves += [None] * (count - len(kept)) + [sha256(b"\0", record) for record in kept]
        taken[lane] = first + count
        firsts[lane] = first + min(count, gone - start) if gone > start else firsts.get(lane, first)
    stored = read(folder, "tree", "level-00")
    for index, leaf in enumerate(leaves):
        assert index < gone or stored[index * 32:index * 32 + 32] == leaf, f"leaf {index} is not what was signed"
    signed = [checkpoint(note, key) for note in notes(os.path.join(folder, "tree", "checkpoints"))]
    held = [checkpoint(note, key) for path in anchors for note in notes(path)]
    assert signed, "nothing is signed"
    if gone:
        assert said[2] >= gone, "the record of the pruning is itself among those that are gone"
        check_pruned(gone, roots, lanes[said[0]][said[1]], leaves[:signed[-1][0]][said[2]], said[3], signed)
        assert all(begins.get(lane, (0, 0))[1] == first for lane, first in firsts.items()), "a lane begins elsewhere"
        assert not held or (newest := max(held)[0]) >= gone or newest % 4096 == 0, "the anchors cannot be compared"
    for size, top, _ in signed + held:
        assert size <= len(leaves), f"{size} records are signed, and there are {len(leaves)}"
        if size >= gone or size % 4096 == 0:
            blocks = roots[:size >> 12] + [root(leaves[at:min(at + 4096, size)]) for at in range(gone, size, 4096)]
            assert root(blocks) == top, f"the root of {size} records is not the one that was signed"
    size, rest = signed[-1][0], sum(len(lanes[lane]) - taken.get(lane, begins.get(lane, (0, 0))[1]) for lane in lanes)
    print(f"VERIFIED {key[0]}: {size} records, {gone} of them pruned; {len(signed)} checkpoints, {len(held)} anchors,",
          f"{rest + len(leaves) - size} unsigned")

def verify_proof(text, key):
    head, note = text.split("\n\n", 1)
    first, extra, index, *hashes = head.split("\n")
    assert (first, extra[:6], index[:6]) == ("c2sp.org/tlog-proof@v1", "extra ", "index "), "this is no proof"
    extra, index = unbase64(extra[6:]), int(index[6:])
    end = 4 + int.from_bytes(extra[:4], "big")
    record, text = extra[4:end], extra[end:]
    size, top, _ = checkpoint(note, key)
    found = root_by_proof(index, size, sha256(b"\0", record), [*map(unbase64, hashes)])
    assert index < size and found == top, "the proof does not hold"
    named = decode.fields(record[10:]).get("text_sha256")
    assert sha256(text) == named if named else text == b"", "the text is not the record's"
    return decode.record(record, b"") | ({"text": decode.statement(text)} if named else {})

def verify_vectors(path):
    vectors = json.loads(read(path))
    key = public_key(vectors["public_key"])
    leaves = [sha256(b"\0", bytes.fromhex(leaf)) for leaf in vectors["leaves"]]
    for size, top in enumerate(vectors["roots"]):
        assert root(leaves[:size]).hex() == top, f"root at {size}"
    for case in vectors["inclusion"]:
        at, size, proof = case["index"], case["size"], map(bytes.fromhex, case["proof"])
        assert root_by_proof(at, size, leaves[at], [*proof]) == root(leaves[:size])
    assert checkpoint(vectors["checkpoint"], key)[:2] == (len(leaves), root(leaves)), "the checkpoint"
    print(f"{len(vectors['roots'])} roots, {len(vectors['inclusion'])} proofs and a checkpoint agree")

if __name__ == "__main__":
    if sys.argv[1] == "--vectors":
        verify_vectors(sys.argv[2])
    elif sys.argv[1] == "--proof":
        print(json.dumps(verify_proof(read(sys.argv[2]).decode(), public_key(read(sys.argv[3]).decode()))))
    else:
        verify_log(sys.argv[1], sys.argv[2:])
