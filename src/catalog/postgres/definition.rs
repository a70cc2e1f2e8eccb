//! Which functions an operator has listed as harmless, each by its name and a hash of its definition.
//! Never trusts a volatility label: IMMUTABLE and STABLE functions that write exist. Read `contrib.rs` next.
//!
//! Why the owner is in the hash: whoever owns a function decides what a SECURITY DEFINER one may touch, and can replace it.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::rows;

/// One function that an operator vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFunction {
    /// `app.net(numeric,numeric)`, as `catalog functions` prints it.
    pub function: String,
    /// `sha256:` and 64 digits, as `catalog functions` prints it.
    pub hash: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedFunctions {
    /// Several hashes where staging and production differ.
    hashes: HashMap<String, Vec<String>>,
}

impl ListedFunctions {
    pub fn new(listed: impl IntoIterator<Item = ListedFunction>) -> Self {
        let mut hashes: HashMap<String, Vec<String>> = HashMap::new();
        for ListedFunction { function, hash } in listed {
            hashes.entry(function).or_default().push(hash);
        }
        Self { hashes }
    }

    pub(in crate::catalog) fn of(&self, signature: &str, hash: &str) -> Listing {
        match self.hashes.get(signature) {
            None => Listing::Absent,
            Some(hashes) if hashes.iter().any(|listed| listed == hash) => Listing::Same,
            Some(_) => Listing::Changed,
        }
    }

    /// In order, for telling one list from another.
    pub(super) fn sorted(&self) -> Vec<(&String, &Vec<String>)> {
        let mut all: Vec<_> = self.hashes.iter().collect();
        all.sort();
        all
    }
}

/// What the list says of a function as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    Absent,
    Same,
    /// It was listed with another definition.
    Changed,
}

/// A function that is not built in, for people who decide whether to list it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct UserFunction {
    pub function: String,
    pub kind: &'static str,
    pub language: String,
    pub owner: String,
    pub security_definer: bool,
    pub volatility: &'static str,
    pub extension: Option<String>,
    pub hash: String,
    /// Calls of it are not held for its own sake.
    pub harmless: bool,
    /// Why not.
    pub reason: Option<String>,
}

pub fn kind_word(kind: u8) -> &'static str {
    match kind {
        b'a' => "aggregate",
        b'p' => "procedure",
        b'w' => "window function",
        _ => "function",
    }
}

pub fn volatility_word(volatility: u8) -> &'static str {
    match volatility {
        b'i' => "immutable",
        b's' => "stable",
        _ => "volatile",
    }
}

/// The hash of everything that decides what a call does.
/// Shape: `sha256:` and SHA-256 in hex over the fields, each as its length in 8 bytes (big endian) and its bytes; an
/// absent field has the length 2^64 - 1 and no bytes.
pub fn hash(function: &rows::Function, aggregate: Option<&rows::Aggregate>) -> String {
    let mut fields = Fields(Sha256::new());
    fields.put(Some("countersign function 1"));
    fields.put(Some(&function.signature));
    fields.put(Some(&function.arguments_text));
    fields.put(function.result_text.as_deref());
    fields.put(Some(kind_word(function.kind)));
    fields.put(Some(&function.language));
    fields.put(Some(&function.source));
    fields.put(function.binary.as_deref());
    fields.put(function.body.as_deref());
    fields.put(Some(&function.owner));
    fields.put(Some(&format!(
        "{} {} {} {} {}",
        function.security_definer,
        volatility_word(function.volatility),
        function.strict,
        function.leak_proof,
        function.parallel as char
    )));
    fields.put(Some(&function.settings.len().to_string()));
    for setting in &function.settings {
        fields.put(Some(setting));
    }
    fields.put(aggregate.map(|aggregate| aggregate.definition.as_str()));
    let digits: String = fields
        .0
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{digits}")
}

struct Fields(Sha256);

impl Fields {
    fn put(&mut self, field: Option<&str>) {
        let length = field.map_or(u64::MAX, |field| field.len() as u64);
        self.0.update(length.to_be_bytes());
        self.0.update(field.unwrap_or_default());
    }
}
