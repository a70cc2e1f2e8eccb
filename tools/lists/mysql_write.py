"""Checks what MariaDB answered to the probes, and turns the mysql_*.txt files into sorted Rust tables. Called by mysql.sh."""
import pathlib
import re
import sys

mode, here = sys.argv[1], pathlib.Path(sys.argv[2])


def lines(name):
    text = (here / name).read_text(encoding="utf-8").splitlines()
    return [line for line in text if line.strip() and not line.startswith("#")]


def number(version):
    if version == "-":
        return None
    parts = [int(part) for part in version.split(".")] + [0, 0]
    return parts[0] * 10000 + parts[1] * 100 + parts[2]


def takes(name, mysql, mariadb, arguments="0+"):
    least = int(arguments.rstrip("+"))
    return name, number(mysql), number(mariadb), least, None if arguments.endswith("+") else least


functions = [takes(*line.split()) for line in lines("mysql_functions.txt")]
ARGUMENTS = ["", "1", "1,1", "1,1,1", "1,1,1,1", "1,1,1,1,1"]
# Asked for its syntax only: a real call of the others takes a second at most.
probes = [(name, arguments) for name, *_ in functions for arguments in ARGUMENTS]
if mode == "probes":
    for name, arguments in probes:
        print(f"SELECT {name}({arguments});")
    sys.exit()

scratch, version = pathlib.Path(sys.argv[3]), sys.argv[4]
errors = (scratch / "errors").read_text(encoding="utf-8", errors="replace")
looked_up = {probes[int(line) - 1] for line in re.findall(r"^ERROR 1305 \(\w+\) at line (\d+)", errors, re.M)}
here_version = number(version.split("-")[0])
wrong = []
for name, _, mariadb, least, most in functions:
    own = mariadb is not None and mariadb <= here_version
    for count, arguments in enumerate(ARGUMENTS):
        in_range = own and least <= count and (most is None or count <= most)
        # Below the least number a syntax error is as good as a look-up that fails: both are held.
        if in_range == ((name, arguments) in looked_up) and (in_range or not own):
            wrong.append((name, count))
known = {name for name, *_ in functions}
listed = (scratch / "functions").read_text().split()
unlisted = [name for name in listed if name not in known and not name.endswith("_oracle") and name != "schemas"]
if wrong or unlisted:
    sys.exit(f"against {version}: wrong {wrong}, not in mysql_functions.txt {unlisted}")

CLASS = {"write": "Class::Write", "session": "Class::Session", "admin": "Class::Admin"}
print(f"//! Written by tools/lists/mysql.sh, checked on MariaDB {version.split('-')[0]}; never edited by hand.\n"
      "//! Sorted by bytes, for binary search. Read `mysql.rs` next.\n\n"
      "use crate::sql::action::Class;\n")
print("/// Names that are the server's own before a parenthesis: since which MySQL, since which MariaDB, and with how many\n"
      "/// arguments there.\n"
      "pub const FUNCTIONS: &[super::Function] = &[")
for name, mysql, mariadb, least, most in sorted(functions):
    show = lambda since: "None" if since is None else f"Some({since})"
    last = "usize::MAX" if most is None else most
    print(f'    ("{name}", {show(mysql)}, {show(mariadb)}, {least}..={last}),')
print("];\n")
print("/// Those that do more than read: name, class, what each does.\n"
      "pub const HELD_FUNCTIONS: &[(&str, Class, &str)] = &[")
for name, group, reason in sorted(line.split(None, 2) for line in lines("mysql_held.txt")):
    assert name in known, name
    print(f'    ("{name}", {CLASS[group]}, "{reason}"),')
print("];\n")


def table(doc, name, values):
    print(f"/// {doc}\npub const {name}: &[&str] = &[")
    for value in sorted(set(values)):
        print(f'    "{value}",')
    print("];\n")


table("System variables of a session that any plain value leaves harmless.", "SETTINGS",
      lines("mysql_settings.txt"))
table("Relations of the system schemas that anybody may read.", "RELATIONS",
      lines("mysql_relations.txt"))
