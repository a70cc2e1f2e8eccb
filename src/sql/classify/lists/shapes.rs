//! What built-in functions take and give, where a statement's reach goes by it.
//! Never says that one is harmless: `mod.rs` does. Read `mod.rs` next.

/// Whether one value of any type, so a whole row as well, is enough to call it: `t.to_json` does.
/// Source: pg_proc of PostgreSQL 15 to 18, first arguments of the types any, record and anyelement and its kin.
pub fn takes_a_row(name: &str) -> bool {
    super::has(&TAKES_A_ROW, name)
}

/// Whether it may return more rows than one, where it stands among results.
/// Source: `proretset` of pg_proc of PostgreSQL 15 to 18, with information_schema
pub fn returns_a_set(name: &str) -> bool {
    super::has(&RETURNS_A_SET, name)
}

/// Whether it makes one value of as many rows as it gets: a LIMIT behind it limits nothing.
pub fn gathers_rows(name: &str) -> bool {
    super::has(&GATHERS_ROWS, name)
}

const TAKES_A_ROW: [&str; 38] = [
    "any_value",
    "array_agg",
    "concat",
    "count",
    "cume_dist",
    "dense_rank",
    "first_value",
    "hash_record",
    "json_agg",
    "json_agg_strict",
    "json_build_array",
    "json_build_object",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_build_array",
    "jsonb_build_object",
    "lag",
    "last_value",
    "lead",
    "max",
    "min",
    "mode",
    "num_nonnulls",
    "num_nulls",
    "percent_rank",
    "pg_collation_for",
    "pg_column_compression",
    "pg_column_size",
    "pg_column_toast_chunk_id",
    "pg_typeof",
    "quote_literal",
    "quote_nullable",
    "rank",
    "record_out",
    "record_send",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

const GATHERS_ROWS: [&str; 18] = [
    "array_agg",
    "json_agg",
    "json_agg_strict",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict",
    "percentile_cont",
    "percentile_disc",
    "range_agg",
    "string_agg",
    "xmlagg",
];

const RETURNS_A_SET: [&str; 94] = [
    "_pg_expandarray",
    "aclexplode",
    "generate_series",
    "generate_subscripts",
    "json_array_elements",
    "json_array_elements_text",
    "json_each",
    "json_each_text",
    "json_object_keys",
    "json_populate_recordset",
    "json_to_recordset",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_object_keys",
    "jsonb_path_query",
    "jsonb_path_query_tz",
    "jsonb_populate_recordset",
    "jsonb_to_recordset",
    "pg_available_extension_versions",
    "pg_available_extensions",
    "pg_available_wal_summaries",
    "pg_config",
    "pg_cursor",
    "pg_event_trigger_ddl_commands",
    "pg_event_trigger_dropped_objects",
    "pg_extension_update_paths",
    "pg_get_aios",
    "pg_get_backend_memory_contexts",
    "pg_get_catalog_foreign_keys",
    "pg_get_keywords",
    "pg_get_loaded_modules",
    "pg_get_multixact_members",
    "pg_get_publication_tables",
    "pg_get_replication_slots",
    "pg_get_sequence_data",
    "pg_get_shmem_allocations",
    "pg_get_shmem_allocations_numa",
    "pg_get_wait_events",
    "pg_get_wal_resource_managers",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_listening_channels",
    "pg_lock_status",
    "pg_logical_slot_get_binary_changes",
    "pg_logical_slot_get_changes",
    "pg_logical_slot_peek_binary_changes",
    "pg_logical_slot_peek_changes",
    "pg_ls_archive_statusdir",
    "pg_ls_dir",
    "pg_ls_logdir",
    "pg_ls_logicalmapdir",
    "pg_ls_logicalsnapdir",
    "pg_ls_replslotdir",
    "pg_ls_summariesdir",
    "pg_ls_tmpdir",
    "pg_ls_waldir",
    "pg_mcv_list_items",
    "pg_options_to_table",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_prepared_statement",
    "pg_prepared_xact",
    "pg_show_all_file_settings",
    "pg_show_all_settings",
    "pg_show_replication_origin_status",
    "pg_snapshot_xip",
    "pg_stat_get_activity",
    "pg_stat_get_backend_idset",
    "pg_stat_get_backend_io",
    "pg_stat_get_io",
    "pg_stat_get_progress_info",
    "pg_stat_get_recovery_prefetch",
    "pg_stat_get_slru",
    "pg_stat_get_subscription",
    "pg_stat_get_subscription_stats",
    "pg_stat_get_wal_receiver",
    "pg_stat_get_wal_senders",
    "pg_tablespace_databases",
    "pg_timezone_abbrevs",
    "pg_timezone_abbrevs_abbrevs",
    "pg_timezone_abbrevs_zone",
    "pg_timezone_names",
    "pg_wal_summary_contents",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "ts_debug",
    "ts_parse",
    "ts_stat",
    "ts_token_type",
    "txid_snapshot_xip",
    "unnest",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_sorted_as_the_look_up_needs_it() {
        assert!(TAKES_A_ROW.is_sorted() && GATHERS_ROWS.is_sorted() && RETURNS_A_SET.is_sorted());
    }
}
