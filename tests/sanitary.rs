//! What is built in, and from where: licences and sources against `deny.toml`, C code against `SECURITY.md`, and the
//! container's build against what cargo wants to see.
//!
//! Never asks the network, so advisories are not looked up here: `cargo deny check` does.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

/// The part of `deny.toml` that is checked here.
#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

fn deny() -> Deny {
    toml::from_str(&read("deny.toml")).expect("deny.toml")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

/// Every package that a build for this machine takes, with the tests and the fuzzers.
fn metadata() -> Value {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--format-version=1",
            "--all-features",
        ])
        .args(["--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn packages(metadata: &Value) -> &[Value] {
    metadata["packages"].as_array().expect("packages")
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn every_package_may_be_used_under_a_licence_that_deny_toml_allows() {
    let allowed: Vec<spdx::Licensee> = deny()
        .licenses
        .allow
        .iter()
        .map(|licence| spdx::Licensee::parse(licence).expect("an SPDX licence"))
        .collect();
    let metadata = metadata();
    let packages = packages(&metadata);
    assert!(packages.len() > 100, "{}", packages.len());
    let is_allowed = |package: &&Value| {
        spdx::Expression::parse_mode(text(package, "license"), spdx::ParseMode::LAX).is_ok_and(|expression| {
            expression.evaluate(|wanted| allowed.iter().any(|licence| licence.satisfies(wanted)))
        })
    };
    let others: Vec<_> = packages
        .iter()
        .filter(|package| !is_allowed(package))
        .map(|package| format!("{}: {}", text(package, "name"), package["license"]))
        .collect();
    assert!(others.is_empty(), "not allowed by deny.toml: {others:?}");
}

#[test]
fn every_package_comes_from_the_one_registry_or_from_here() {
    let metadata = metadata();
    let here = env!("CARGO_MANIFEST_DIR");
    // The one that cargo knows without being told: a second one, or a Git repository, would be another source.
    let serde = packages(&metadata)
        .iter()
        .find(|package| package["name"] == "serde");
    let registry = &serde.expect("it is used")["source"];
    assert!(
        registry
            .as_str()
            .is_some_and(|source| source.starts_with("registry+"))
    );
    let others: Vec<_> = packages(&metadata)
        .iter()
        .filter(|package| match &package["source"] {
            Value::Null => !text(package, "manifest_path").starts_with(here),
            source => source != registry,
        })
        .map(|package| format!("{}: {}", text(package, "name"), package["source"]))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

/// Whoever has a compiler for C among the needs of its build script, and is part of the program.
#[test]
fn c_code_is_in_the_packages_alone_that_security_md_names() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges=normal,build",
            "--invert=cc",
            "--depth=1",
        ])
        .args(["--prefix=none", "--format={p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).expect("text");
    let names = lines.lines().filter_map(|line| line.split(' ').next());
    // cmake is itself a way to call the compiler, for one of the others.
    let compiled: BTreeSet<&str> = names
        .filter(|name| !["cc", "cmake", "[build-dependencies]", ""].contains(name))
        .collect();
    let security = read("SECURITY.md");
    let table = security
        .split_once("| Package |")
        .expect("the table of packages")
        .1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let named: BTreeSet<&str> = rows.filter_map(|line| line.split('`').nth(1)).collect();
    assert_eq!(compiled, named);
}

/// With the files that the Dockerfile copies, and no others, cargo knows what to build.
#[test]
fn the_containers_build_has_every_file_that_cargo_looks_for() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let dockerfile = read("docker/Dockerfile");
    let ignored = read(".dockerignore");
    let sent: Vec<&str> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let copies = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    for copy in copies.filter(|copy| !copy.starts_with("--from")) {
        let files: Vec<&str> = copy.split(' ').collect();
        let (to, from) = files.split_last().expect("a COPY has two files");
        for from in from {
            assert!(sent.contains(from), "{from} is not sent by .dockerignore");
            let to = if from.ends_with(".toml") || from.ends_with(".lock") {
                folder.path().join(from)
            } else {
                folder.path().join(to)
            };
            std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
            let copied = Command::new("cp")
                .arg("-r")
                .arg(from)
                .arg(&to)
                .status()
                .expect("cp");
            assert!(copied.success(), "{from}");
        }
    }
    // The plan of the build alone, which this cargo shows when it is told that it may.
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "--offline",
            "--unit-graph",
            "-Zunstable-options",
        ])
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(folder.path())
        .output()
        .expect("cargo");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
