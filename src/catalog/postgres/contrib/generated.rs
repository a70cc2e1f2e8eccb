pub const HARMLESS: &[(&str, &[&str])] = &[("pg_trgm", &["similarity"])];
