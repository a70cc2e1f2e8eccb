//! Holds every `crate::ROOM` in `src` against the list in the header of `src/lib.rs`: who may use whom.
//!
//! Checks nothing else: what else the style asks for, a reader sees.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[test]
fn rooms_use_only_the_rooms_that_the_map_names() {
    let map = read_map();
    let mut strays = Vec::new();
    for file in source_files(Path::new("src")) {
        let Some(room) = room_of(&file) else { continue };
        let allowed = map
            .get(&room)
            .unwrap_or_else(|| panic!("`{room}` is not in the map in src/lib.rs"));
        let used = rooms_used(&std::fs::read_to_string(&file).unwrap());
        let stray =
            |used: &String| *used != room && !allowed.contains(used) && !allowed.contains("everything");
        strays.extend(
            used.into_iter()
                .filter(stray)
                .map(|used| format!("{} uses {used}", file.display())),
        );
    }
    assert!(
        strays.is_empty(),
        "against the map in src/lib.rs:\n{}",
        strays.join("\n")
    );
}

/// Lines of the form `//! room -> room, room`.
fn read_map() -> BTreeMap<String, BTreeSet<String>> {
    let header = std::fs::read_to_string("src/lib.rs").unwrap();
    let lines = header
        .lines()
        .filter_map(|line| line.strip_prefix("//! ")?.split_once("->"));
    let rooms = |list: &str| {
        list.split(',')
            .map(|room| room.trim().to_owned())
            .filter(|room| !room.is_empty())
            .collect()
    };
    lines
        .map(|(room, list)| (room.trim().to_owned(), rooms(list)))
        .collect()
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// `src/hold/request.rs` and `src/hold.rs` are in `hold`; `lib.rs` and `main.rs` are in no room.
fn room_of(file: &Path) -> Option<String> {
    let first = file.strip_prefix("src").ok()?.components().next()?;
    let room = Path::new(first.as_os_str()).file_stem()?.to_str()?;
    (!["lib", "main"].contains(&room)).then(|| room.to_owned())
}

/// Both `crate::room::…` and `crate::{room, room::…}`, the latter without braces inside it.
fn rooms_used(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let mut rooms = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let several = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let paths = several.map_or_else(|| vec![rest], |(inside, _)| inside.split(',').collect());
        rooms.extend(paths.into_iter().map(first_name).filter(|name| !name.is_empty()));
    }
    rooms
}

fn first_name(path: &str) -> String {
    let is_name = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
    path.trim().chars().take_while(is_name).collect()
}
