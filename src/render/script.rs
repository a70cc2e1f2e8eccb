//! Names that look like other names: letters of several scripts in one, or foreign letters that look like ASCII.
//! Never judges a text that is pure ASCII. Read `statement.rs` next.

use unicode_security::MixedScript as _;
use unicode_security::confusable_detection::skeleton;
use unicode_security::mixed_script::AugmentedScriptSet;

/// What is wrong with a name, in words; `None`: nothing.
pub fn disguise(name: &str) -> Option<String> {
    if name.is_ascii() {
        return None;
    }
    let scripts = scripts(name).join(" and ");
    if !name.is_single_script() {
        return Some(format!("mixes letters of {scripts} in one name"));
    }
    let looks_like: String = skeleton(name).collect();
    looks_like
        .is_ascii()
        .then(|| format!("is written in {scripts} and looks like `{looks_like}`"))
}

/// The scripts of its letters, in the order of their first letters; what all scripts share is left out.
fn scripts(name: &str) -> Vec<&'static str> {
    let mut found: Vec<&'static str> = Vec::new();
    for letter in name.chars() {
        let of_letter = AugmentedScriptSet::for_char(letter);
        if of_letter.is_all() {
            continue;
        }
        let name = of_letter.base.iter().next().map(|script| script.full_name());
        if let Some(name) = name.filter(|name| !found.contains(name)) {
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_others_are_told() {
        for honest in [
            "orders",
            "straße",
            "naïve",
            "表",
            "заказы",
            "カラム",
            "order_日本",
        ] {
            let told = disguise(honest);
            let is_mixed = honest == "order_日本";
            assert!(told.is_none() || is_mixed, "{honest}: {told:?}");
        }
        assert_eq!(
            disguise("оrders").as_deref(),
            Some("mixes letters of Cyrillic and Latin in one name")
        );
        assert_eq!(
            disguise("расе").as_deref(),
            Some("is written in Cyrillic and looks like `pace`")
        );
    }
}
