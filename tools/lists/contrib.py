"""Turns what contrib.sh asked for into sorted Rust tables. Called by contrib.sh."""
import fnmatch
import json
import pathlib
import sys

scratch, version, here = pathlib.Path(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])


def lines(path):
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "#"]


rules = [line.split(None, 3) for line in lines(here / "contrib.txt")]


def harmless(library, symbol):
    for wanted, pattern, word, _ in rules:
        if library == wanted and fnmatch.fnmatchcase(symbol, pattern):
            return word == "harmless"
    return False


symbols = {tuple(json.loads(line)) for line in lines(scratch / "symbols")}
symbols |= {tuple(line.split()) for line in lines(here / "contrib_also.txt")}
known = sorted(pair for pair in symbols if harmless(*pair))
bodies = sorted(json.loads(line) for line in lines(scratch / "bodies"))
# These use an operator by its bare name, which the session's search_path may give another meaning.
bodies = [body for body in bodies if "CASE" not in body]
unused = {wanted for wanted, *_ in rules} - {library for library, _ in symbols}
assert not unused, f"contrib.txt names libraries that are not there: {unused}"

print(f"//! Written by tools/lists/contrib.sh from PostgreSQL {version // 10000}.{version % 10000}; never edited by hand.\n"
      "//! Read `../../../../tools/lists/contrib.txt` for the reasons.\n")
print("/// C functions that do nothing but compute, by library.\npub const HARMLESS: &[(&str, &[&str])] = &[")
for library in sorted({library for library, _ in known}):
    print(f'    ("{library}", &[')
    for symbol in [symbol for owner, symbol in known if owner == library]:
        print(f'        "{symbol}",')
    print("    ]),")
print("];\n\n/// Bodies in SQL that call nothing but the server's own, by qualified names.\npub const BODIES: &[&str] = &[")
for body in bodies:
    print("    " + json.dumps(body) + ",")
print("];")
