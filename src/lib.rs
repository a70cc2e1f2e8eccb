//! Countersign stands between AI agents and a database, and parks what a person should see first.
//!
//! Never holds logic of its own: this file is the map. Rooms in reading order, and who may use whom (`tests/tidy.rs`
//! holds every `use crate::` against these lines):
//!
//! ```text
//! clock     ->
//! wire      ->
//! sql       ->
//! render    -> sql
//! identity  -> clock
//! catalog   -> sql, clock
//! policy    -> sql, identity, clock
//! hold      -> policy, catalog, sql, identity, clock
//! audit     -> hold, policy, sql, identity, clock
//! journal   -> audit, hold, identity, clock
//! store     -> audit, hold, policy, catalog, sql, identity, clock
//! desk      -> store, journal, audit, hold, policy, catalog, sql, identity, clock
//! proxy     -> desk, journal, audit, hold, policy, catalog, sql, identity, wire, telemetry, clock
//! notify    -> desk, hold, identity, render, telemetry, clock
//! api       -> notify, desk, journal, audit, hold, policy, catalog, sql, identity, render, telemetry, clock
//! tables    -> proxy, desk, journal, audit, hold, sql, identity, wire, telemetry, clock
//! web       -> api, notify, desk, journal, audit, hold, policy, catalog, sql, identity, render, telemetry, clock
//! telemetry ->
//! config    -> telemetry, proxy, tables, api, web, notify, desk, store, journal, audit, policy, catalog, identity, clock
//! cli       -> everything
//! ```
//! Read `sql/action.rs` next: its words are the ones that rules, log and reviewers speak.

pub mod api;
pub mod audit;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod desk;
pub mod hold;
pub mod identity;
pub mod journal;
pub mod notify;
pub mod policy;
pub mod proxy;
pub mod render;
pub mod sql;
pub mod store;
pub mod tables;
pub mod telemetry;
pub mod web;
pub mod wire;
