// pgjdbc on the log as Metabase drives it: connection settings, what a sync asks for (tables, fields, keys, privileges),
// the samples that it takes fingerprints of, and questions as its query builder writes them.
// Source: metabase/metabase, src/metabase/driver/postgres.clj and sql_jdbc/sync, as of 2026.

import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;

public class MetabaseClient {
    static final String TABLES = "SELECT \"n\".\"nspname\" AS \"schema\", \"c\".\"relname\" AS \"name\", CASE \"c\".\"relkind\""
        + " WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'PARTITIONED TABLE' WHEN 'v' THEN 'VIEW' WHEN 'f' THEN 'FOREIGN TABLE'"
        + " WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE NULL END AS \"type\", \"d\".\"description\" AS \"description\","
        + " \"stat\".\"n_live_tup\" AS \"estimated_row_count\" FROM \"pg_catalog\".\"pg_class\" AS \"c\""
        + " INNER JOIN \"pg_catalog\".\"pg_namespace\" AS \"n\" ON \"c\".\"relnamespace\" = \"n\".\"oid\""
        + " LEFT JOIN \"pg_catalog\".\"pg_description\" AS \"d\" ON (\"c\".\"oid\" = \"d\".\"objoid\")"
        + " AND (\"d\".\"objsubid\" = 0) AND (\"d\".\"classoid\" = 'pg_class'::regclass)"
        + " LEFT JOIN \"pg_stat_user_tables\" AS \"stat\" ON (\"n\".\"nspname\" = \"stat\".\"schemaname\")"
        + " AND (\"c\".\"relname\" = \"stat\".\"relname\") WHERE (\"c\".\"relnamespace\" = \"n\".\"oid\")"
        + " AND (\"n\".\"nspname\" !~ ?) AND (\"n\".\"nspname\" <> ?) AND c.relkind in ('r', 'p', 'v', 'f', 'm')"
        + " AND (\"n\".\"nspname\" IN (?)) ORDER BY \"type\" ASC, \"schema\" ASC, \"name\" ASC";

    static final String FIELDS = "SELECT \"c\".\"column_name\" AS \"name\", CASE WHEN \"c\".\"udt_schema\" IN ('public',"
        + " 'pg_catalog') THEN FORMAT('%s', \"c\".\"udt_name\") ELSE FORMAT('\"%s\".\"%s\"', \"c\".\"udt_schema\","
        + " \"c\".\"udt_name\") END AS \"database-type\", \"c\".\"ordinal_position\" - 1 AS \"database-position\","
        + " \"c\".\"table_schema\" AS \"table-schema\", \"c\".\"table_name\" AS \"table-name\","
        + " \"pk\".\"column_name\" IS NOT NULL AS \"pk?\", COL_DESCRIPTION(CAST(CAST(FORMAT('%I.%I',"
        + " CAST(\"c\".\"table_schema\" AS TEXT), CAST(\"c\".\"table_name\" AS TEXT)) AS REGCLASS) AS OID),"
        + " \"c\".\"ordinal_position\") AS \"field-comment\", ((\"column_default\" IS NULL) OR (LOWER(\"column_default\")"
        + " = 'null')) AND (\"is_nullable\" = 'NO') AND NOT (((\"column_default\" IS NOT NULL) AND (\"column_default\""
        + " LIKE '%nextval(%')) OR (\"is_identity\" <> 'NO')) AS \"database-required\", ((\"column_default\" IS NOT NULL)"
        + " AND (\"column_default\" LIKE '%nextval(%')) OR (\"is_identity\" <> 'NO') AS \"database-is-auto-increment\""
        + " FROM \"information_schema\".\"columns\" AS \"c\" LEFT JOIN (SELECT \"tc\".\"table_schema\","
        + " \"tc\".\"table_name\", \"kc\".\"column_name\" FROM \"information_schema\".\"table_constraints\" AS \"tc\""
        + " INNER JOIN \"information_schema\".\"key_column_usage\" AS \"kc\" ON (\"tc\".\"constraint_name\" ="
        + " \"kc\".\"constraint_name\") AND (\"tc\".\"table_schema\" = \"kc\".\"table_schema\") AND (\"tc\".\"table_name\""
        + " = \"kc\".\"table_name\") WHERE \"tc\".\"constraint_type\" = 'PRIMARY KEY') AS \"pk\" ON (\"c\".\"table_schema\""
        + " = \"pk\".\"table_schema\") AND (\"c\".\"table_name\" = \"pk\".\"table_name\") AND (\"c\".\"column_name\" ="
        + " \"pk\".\"column_name\") WHERE c.table_schema !~ '^information_schema|catalog_history|pg_'"
        + " AND (\"c\".\"table_schema\" IN (?)) UNION ALL SELECT \"pa\".\"attname\" AS \"name\", CASE WHEN"
        + " \"ptn\".\"nspname\" IN ('public', 'pg_catalog') THEN FORMAT('%s', \"pt\".\"typname\") ELSE"
        + " FORMAT('\"%s\".\"%s\"', \"ptn\".\"nspname\", \"pt\".\"typname\") END AS \"database-type\", \"pa\".\"attnum\""
        + " - 1 AS \"database-position\", \"pn\".\"nspname\" AS \"table-schema\", \"pc\".\"relname\" AS \"table-name\","
        + " FALSE AS \"pk?\", NULL AS \"field-comment\", FALSE AS \"database-required\", FALSE AS"
        + " \"database-is-auto-increment\" FROM \"pg_catalog\".\"pg_class\" AS \"pc\" INNER JOIN"
        + " \"pg_catalog\".\"pg_namespace\" AS \"pn\" ON \"pn\".\"oid\" = \"pc\".\"relnamespace\" INNER JOIN"
        + " \"pg_catalog\".\"pg_attribute\" AS \"pa\" ON \"pa\".\"attrelid\" = \"pc\".\"oid\" INNER JOIN"
        + " \"pg_catalog\".\"pg_type\" AS \"pt\" ON \"pt\".\"oid\" = \"pa\".\"atttypid\" INNER JOIN"
        + " \"pg_catalog\".\"pg_namespace\" AS \"ptn\" ON \"ptn\".\"oid\" = \"pt\".\"typnamespace\" WHERE"
        + " (\"pc\".\"relkind\" = 'm') AND (\"pa\".\"attnum\" >= 1) AND (\"pn\".\"nspname\" IN (?)) ORDER BY"
        + " \"table-schema\" ASC, \"table-name\" ASC, \"database-position\" ASC";

    static final String FOREIGN_KEYS = "SELECT \"fk_ns\".\"nspname\" AS \"fk-table-schema\", \"fk_table\".\"relname\" AS"
        + " \"fk-table-name\", \"fk_column\".\"attname\" AS \"fk-column-name\", \"pk_ns\".\"nspname\" AS \"pk-table-schema\","
        + " \"pk_table\".\"relname\" AS \"pk-table-name\", \"pk_column\".\"attname\" AS \"pk-column-name\" FROM"
        + " \"pg_constraint\" AS \"c\" INNER JOIN \"pg_class\" AS \"fk_table\" ON \"c\".\"conrelid\" = \"fk_table\".\"oid\""
        + " INNER JOIN \"pg_namespace\" AS \"fk_ns\" ON \"c\".\"connamespace\" = \"fk_ns\".\"oid\" INNER JOIN"
        + " \"pg_attribute\" AS \"fk_column\" ON \"c\".\"conrelid\" = \"fk_column\".\"attrelid\" INNER JOIN \"pg_class\" AS"
        + " \"pk_table\" ON \"c\".\"confrelid\" = \"pk_table\".\"oid\" INNER JOIN \"pg_namespace\" AS \"pk_ns\" ON"
        + " \"pk_table\".\"relnamespace\" = \"pk_ns\".\"oid\" INNER JOIN \"pg_attribute\" AS \"pk_column\" ON"
        + " \"c\".\"confrelid\" = \"pk_column\".\"attrelid\" WHERE fk_ns.nspname !~ '^information_schema|catalog_history|pg_'"
        + " AND (\"c\".\"contype\" = 'f'::char) AND (\"fk_column\".\"attnum\" = ANY(c.conkey)) AND (\"pk_column\".\"attnum\""
        + " = ANY(c.confkey)) AND (\"fk_ns\".\"nspname\" IN (?)) ORDER BY \"fk-table-schema\" ASC, \"fk-table-name\" ASC";

    static final String INDEXES = "SELECT \"tmp\".\"table-schema\", \"tmp\".\"table-name\", TRIM(BOTH '\"' FROM"
        + " \"pg_catalog\".\"pg_get_indexdef\"(\"tmp\".\"ci_oid\", \"tmp\".\"pos\", FALSE)) AS \"field-name\" FROM (SELECT"
        + " \"n\".\"nspname\" AS \"table-schema\", \"ct\".\"relname\" AS \"table-name\", \"ci\".\"oid\" AS \"ci_oid\","
        + " (\"information_schema\".\"_pg_expandarray\"(\"i\".\"indkey\")).\"n\" AS \"pos\" FROM \"pg_catalog\".\"pg_class\""
        + " AS \"ct\" INNER JOIN \"pg_catalog\".\"pg_namespace\" AS \"n\" ON \"ct\".\"relnamespace\" = \"n\".\"oid\" INNER"
        + " JOIN \"pg_catalog\".\"pg_index\" AS \"i\" ON \"ct\".\"oid\" = \"i\".\"indrelid\" INNER JOIN"
        + " \"pg_catalog\".\"pg_class\" AS \"ci\" ON \"ci\".\"oid\" = \"i\".\"indexrelid\" WHERE"
        + " (\"pg_catalog\".\"pg_get_expr\"(\"i\".\"indpred\", \"i\".\"indrelid\") IS NULL) AND"
        + " n.nspname !~ '^information_schema|catalog_history|pg_' AND (\"n\".\"nspname\" IN (?))) AS \"tmp\""
        + " WHERE \"tmp\".\"pos\" = 1";

    static final String ENUMS = "SELECT nspname, typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace"
        + " WHERE t.oid IN (SELECT DISTINCT enumtypid FROM pg_enum e)";

    static String held(String function, String privilege) {
        return "   pg_catalog." + function + "(current_user, '\"' || replace(t.schemaname, '\"', '\"\"') || '\"' || '.' || '\"'"
            + " || replace(t.objectname, '\"', '\"\"') || '\"',  '" + privilege + "') as " + privilege;
    }

    static final String PRIVILEGES = String.join("\n",
        "with table_privileges as (",
        " select",
        "   NULL as role,",
        "   t.schemaname as schema,",
        "   t.objectname as table,",
        held("has_any_column_privilege", "update") + ",",
        held("has_any_column_privilege", "select") + ",",
        held("has_any_column_privilege", "insert") + ",",
        held("has_table_privilege", "delete"),
        " from (",
        "   select schemaname, tablename as objectname from pg_catalog.pg_tables",
        "   union",
        "   select schemaname, viewname as objectname from pg_catalog.pg_views",
        "   union",
        "   select schemaname, matviewname as objectname from pg_catalog.pg_matviews",
        " ) t",
        " where t.schemaname !~ '^pg_'",
        "   and t.schemaname <> 'information_schema'",
        "   and pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage')",
        ")",
        "select t.*",
        "from table_privileges t");

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            begin(connection);
            sync(connection);
            fingerprint(connection);
            questions(connection);
        }
    }

    static void begin(Connection connection) throws SQLException {
        connection.setTransactionIsolation(Connection.TRANSACTION_READ_UNCOMMITTED);
        connection.setReadOnly(true);
        connection.setHoldability(ResultSet.CLOSE_CURSORS_AT_COMMIT);
        try (Statement statement = connection.createStatement()) {
            statement.execute("SET SESSION TIMEZONE TO 'UTC';");
        }
        print(connection, "zone", "show timezone;");
        DatabaseMetaData data = connection.getMetaData();
        System.out.println("version " + data.getDatabaseProductName() + " " + data.getDatabaseMajorVersion());
    }

    static void sync(Connection connection) throws SQLException {
        DatabaseMetaData data = connection.getMetaData();
        try (ResultSet schemas = data.getSchemas()) {
            while (schemas.next()) {
                System.out.println("schema " + schemas.getString("TABLE_SCHEM"));
            }
        }
        print(connection, "privileges", PRIVILEGES);
        print(connection, "table", TABLES, "^pg_", "information_schema", "public");
        print(connection, "field", FIELDS, "public", "public");
        print(connection, "foreign key", FOREIGN_KEYS, "public");
        print(connection, "index", INDEXES, "public");
        print(connection, "enum", ENUMS);
        print(connection, "may select", "SELECT TRUE AS \"_\" FROM \"public\".\"statements\" WHERE 1 <> 1 LIMIT 0");
    }

    static void fingerprint(Connection connection) throws SQLException {
        String of = "\"public\".\"statements\".";
        String sample = "SELECT " + of + "\"time\" AS \"time\", SUBSTRING(" + of + "\"text\", 1, 1234) AS \"substring1\", " + of
            + "\"rows\" AS \"rows\", " + of + "\"duration_ms\" AS \"duration_ms\", " + of + "\"tables\" AS \"tables\""
            + " FROM \"public\".\"statements\" LIMIT 10000";
        connection.setAutoCommit(false);
        try (PreparedStatement statement = connection.prepareStatement(sample, ResultSet.TYPE_FORWARD_ONLY,
                ResultSet.CONCUR_READ_ONLY)) {
            statement.setFetchSize(2);
            statement.setMaxRows(10_000);
            try (ResultSet rows = statement.executeQuery()) {
                ResultSetMetaData columns = rows.getMetaData();
                List<String> types = new ArrayList<>();
                for (int at = 1; at <= columns.getColumnCount(); at++) {
                    types.add(columns.getColumnTypeName(at));
                }
                int count = 0;
                while (rows.next()) {
                    rows.getObject(1, java.time.OffsetDateTime.class);
                    count++;
                }
                System.out.println("sample " + count + " " + types);
            }
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    static void questions(Connection connection) throws SQLException {
        String of = "\"public\".\"statements\".";
        print(connection, "count", "SELECT COUNT(*) AS \"count\" FROM \"public\".\"statements\"");
        print(connection, "distinct", "SELECT COUNT(DISTINCT " + of + "\"principal\") AS \"count\" FROM \"public\".\"statements\"");
        print(connection, "by day", "SELECT CAST(" + of + "\"time\" AS date) AS \"time\", COUNT(*) AS \"count\" FROM"
            + " \"public\".\"statements\" GROUP BY CAST(" + of + "\"time\" AS date) ORDER BY CAST(" + of
            + "\"time\" AS date) ASC");
        print(connection, "by month", "SELECT DATE_TRUNC('month', " + of + "\"time\") AS \"time\", SUM(" + of
            + "\"rows\") AS \"sum\" FROM \"public\".\"statements\" WHERE (" + of + "\"time\" >= DATE_TRUNC('year', (NOW() +"
            + " INTERVAL '-10 year'))) AND (" + of + "\"verdict\" = ?) GROUP BY DATE_TRUNC('month', " + of
            + "\"time\") ORDER BY DATE_TRUNC('month', " + of + "\"time\") ASC", "allow");
        print(connection, "values", "SELECT " + of + "\"principal\" AS \"principal\" FROM \"public\".\"statements\" GROUP BY "
            + of + "\"principal\" ORDER BY " + of + "\"principal\" ASC LIMIT 1001");
        print(connection, "nested", "SELECT \"source\".\"class\" AS \"class\", COUNT(*) AS \"count\" FROM (SELECT " + of
            + "\"class\" AS \"class\" FROM \"public\".\"statements\" WHERE (LOWER(" + of + "\"text\") LIKE ?)) AS \"source\""
            + " GROUP BY \"source\".\"class\" ORDER BY \"count\" DESC, \"source\".\"class\" ASC", "%drop%");
    }

    static void print(Connection connection, String word, String query, String... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(query)) {
            statement.setQueryTimeout(15);
            for (int at = 0; at < values.length; at++) {
                statement.setObject(at + 1, values[at]);
            }
            try (ResultSet rows = statement.executeQuery()) {
                int count = rows.getMetaData().getColumnCount();
                while (rows.next()) {
                    StringBuilder line = new StringBuilder(word);
                    for (int at = 1; at <= count; at++) {
                        line.append(at == 1 ? " " : "|").append(rows.getString(at));
                    }
                    System.out.println(line);
                }
                System.out.println(word + " done");
            }
        }
    }
}
