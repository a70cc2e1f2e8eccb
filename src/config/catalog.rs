//! How the upstream's catalog is read: by whom, how often, and which functions count as harmless. Never reads it.
//! Read `../catalog/keeper.rs` for what the pace means.

use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::reader::{Found, Place, Reader};
use super::secret::Secret;
use crate::catalog::keeper::Pace;

/// How the upstream's catalog is read.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub user: String,
    pub password: Secret,
    pub pace: Pace,
    pub trusted_file: Option<PathBuf>,
}

/// Without a user there is no catalog, and then nothing else may be said of it.
pub fn read_catalog(reader: &mut Reader, section: &str) -> Option<Catalog> {
    const HOUR_SECONDS: i64 = 3_600;
    let seconds = |reader: &mut Reader, key: &str, default: u64| {
        let found = reader.integer(&format!("{section}.{key}"), 1..=HOUR_SECONDS);
        let place = found.as_ref().map(|found| found.place.clone());
        let value = found.map_or(default, |found| u64::try_from(found.value).unwrap_or(default));
        (Duration::from_secs(value), place)
    };
    let user = reader.text(&format!("{section}.user"));
    let given = reader.text(&format!("{section}.password"));
    let file = reader.path(&format!("{section}.password_file"));
    let (refresh, refresh_place) = seconds(reader, "refresh_seconds", 5);
    let (stale_after, stale_place) = seconds(reader, "stale_after_seconds", 30);
    let trusted_file = reader.path(&format!("{section}.trusted_file"));
    if let Some(Found {
        place: place @ Place::File { .. },
        ..
    }) = &given
    {
        reader.complain(
            place,
            "a password does not belong into the settings file",
            "write it to a file of its own and name that in `password_file`",
        );
    }
    let places = [
        given.as_ref().map(|given| &given.place),
        file.as_ref().map(|file| &file.place),
        refresh_place.as_ref(),
        stale_place.as_ref(),
        trusted_file.as_ref().map(|file| &file.place),
    ];
    let Some(user) = user else {
        if let Some(place) = places.into_iter().flatten().next() {
            let message = format!("`[{section}]` without a `user`");
            reader.complain(
                place,
                message,
                format!("name a database user that may connect, in `{section}.user`"),
            );
        }
        return None;
    };
    if stale_after < refresh {
        let (stale, refresh) = (stale_after.as_secs(), refresh.as_secs());
        let message =
            format!("`stale_after_seconds` is {stale}, less than `refresh_seconds`, which is {refresh}");
        let place = stale_place.or(refresh_place).unwrap_or(Place::Default);
        reader.complain(
            &place,
            message,
            format!("make `stale_after_seconds` at least {refresh}"),
        );
    }
    let password = match (given, file) {
        (Some(given), _) => Secret::Given(Zeroizing::new(given.value)),
        (None, Some(file)) => Secret::File(file.value),
        (None, None) => Secret::None,
    };
    Some(Catalog {
        user: user.value,
        password,
        pace: Pace { refresh, stale_after },
        trusted_file: trusted_file.map(|file| file.value),
    })
}
