"""Turns what lists.sql printed into sorted Rust tables. Called by generate.sh."""
import fnmatch
import pathlib
import sys

here = pathlib.Path(sys.argv[3])
rows, newer = ([line.rstrip("\n").split("|", 1) for line in open(path, encoding="utf-8")] for path in sys.argv[1:3])


def kind(name, among=rows):
    return sorted({value for key, value in among if key == name})


def lines(name):
    text = (here / name).read_text(encoding="utf-8").splitlines()
    return [line for line in text if line.strip() and not line.startswith("#")]


held_lines = [line.split(None, 2) for line in lines("held_functions.txt")]


def held(name):
    for pattern, group, reason in held_lines:
        if fnmatch.fnmatchcase(name, pattern):
            return None if group == "harmless" else (group, reason)
    return None


CLASS = {
    "special": "Class::Unknown", "write": "Class::Write", "ddl": "Class::Ddl", "export": "Class::Export",
    "procedural": "Class::Procedural", "session": "Class::Session", "admin": "Class::Admin",
}
callable_names = kind("function")
builtin = kind("builtin")
harmless = [name for name in callable_names if held(name) is None]
exact = {pattern for pattern, _, _ in held_lines if "*" not in pattern}
held_names = sorted({name for name in builtin + kind("builtin", newer) if held(name) is not None} | {n for n in exact if held(n)})
newer_names = [name for name in kind("function", newer) if name not in set(builtin) and held(name) is None]
other = [name for name in builtin if name not in set(harmless) and name not in set(held_names)]


def table(doc, name, values):
    print(f"/// {doc}\npub const {name}: &[&str] = &[")
    for value in values:
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        print(f'    "{quoted}",')
    print("];\n")


print(f"//! Written by tools/lists/generate.sh from PostgreSQL {kind('version')[0]}; "
      f"newer functions from {', '.join(kind('version', newer))}.\n"
      "//! Never edited by hand. Sorted by bytes, for binary search. Read `mod.rs` next.\n\n"
      "use crate::sql::action::Class;\n")
table("Functions of pg_catalog that any arguments leave harmless.", "HARMLESS_FUNCTIONS", harmless)
table("Functions that newer servers have besides, harmless likewise: on an older one the name is somebody's.",
      "NEWER_FUNCTIONS", newer_names)
table("Other built-in functions: type input and output, handlers, triggers; not for statements.",
      "OTHER_FUNCTIONS", other)
table("Functions of information_schema, harmless by qualified name.", "INFORMATION_FUNCTIONS", kind("information"))
table("Types of pg_catalog.", "TYPES", kind("type"))
table("Domains of information_schema, whose checks call nothing.", "INFORMATION_DOMAINS", kind("domain"))
table("Operators of pg_catalog.", "OPERATORS", kind("operator"))
table("Operator classes of pg_catalog, each behind its access method.", "OPERATOR_CLASSES", kind("opclass"))
table("Settings of a session that any value leaves harmless.", "SETTINGS", sorted(lines("settings.txt")))
print("/// Built-in functions that do more than read: name, class, what each does.\n"
      "pub const HELD_FUNCTIONS: &[(&str, Class, &str)] = &[")
for name in held_names:
    group, reason = held(name)
    print(f'    ("{name}", {CLASS[group]}, "{reason}"),')
print("];")
