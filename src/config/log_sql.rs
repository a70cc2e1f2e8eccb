//! Where auditors read the log by SQL, and what one query may take. Off unless it has an address.
//! Never starts it. Read `../tables/mod.rs` for what is made of it.

use std::time::Duration;

use super::listen::read_tls;
use super::reader::{Found, Reader};
use crate::proxy::ListenTls;
use crate::tables::{Limits, Settings};

pub fn read_log_sql(reader: &mut Reader) -> Option<Settings> {
    let address = reader.address("log_sql.address");
    let tls = read_tls(reader, "log_sql");
    let default = Limits::default();
    let mut number = |key: &str, most: i64| {
        let found = reader.integer(&format!("log_sql.{key}"), 1..=most);
        found.and_then(|Found { value, .. }| usize::try_from(value).ok())
    };
    let seconds = number("timeout_seconds", 3_600);
    let limits = Limits {
        time: seconds.map_or(default.time, |seconds| Duration::from_secs(seconds as u64)),
        rows: number("rows", 10_000_000).unwrap_or(default.rows),
        records: number("records", 100_000_000).unwrap_or(default.records),
        ..default
    };
    let Some(address) = address else {
        if tls != ListenTls::Off {
            let place = reader.table_place("log_sql");
            let message = "`[log_sql]` has a certificate, but no `address`";
            reader.complain(
                &place,
                message,
                "write `address = \"127.0.0.1:6434\"`, or take the section out",
            );
        }
        return None;
    };
    Some(Settings {
        address: address.value,
        tls,
        limits,
    })
}
