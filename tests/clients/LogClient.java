// pgjdbc on the log: what Metabase and DBeaver ask of DatabaseMetaData, then a query in parts and with parameters.

import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.time.Instant;

public class LogClient {
    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            DatabaseMetaData data = connection.getMetaData();
            System.out.println("product " + data.getDatabaseProductName() + " " + data.getDatabaseMajorVersion());
            print("table", data.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"}), "TABLE_NAME", "REMARKS");
            print("column", data.getColumns(null, "public", "statements", "%"), "COLUMN_NAME", "TYPE_NAME");
            print("schema", data.getSchemas(), "TABLE_SCHEM");
            print("catalog", data.getCatalogs(), "TABLE_CAT");
            print("kind", data.getTableTypes(), "TABLE_TYPE");
            print("primary key", data.getPrimaryKeys(null, "public", "statements"), "COLUMN_NAME");
            print("imported", data.getImportedKeys(null, "public", "statements"), "FKCOLUMN_NAME");
            print("exported", data.getExportedKeys(null, "public", "statements"), "FKCOLUMN_NAME");
            print("index", data.getIndexInfo(null, "public", "statements", false, true), "INDEX_NAME");
            print("privilege", data.getTablePrivileges(null, "public", "statements"), "PRIVILEGE");
            print("type", data.getTypeInfo(), "TYPE_NAME");
            print("function", data.getFunctions(null, null, "%"), "FUNCTION_NAME");
            query(connection);
        }
    }

    static void query(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        connection.setReadOnly(true);
        String text = "SELECT time, principal, rows, duration_ms, tables, verdict = 'hold' AS held FROM statements"
            + " WHERE time >= ? AND principal = ? ORDER BY time";
        try (PreparedStatement statement = connection.prepareStatement(text)) {
            statement.setFetchSize(1);
            // The sixth and later runs are named and binary.
            for (int run = 0; run < 7; run++) {
                statement.setTimestamp(1, Timestamp.from(Instant.parse("2026-11-22T10:02:00Z")));
                statement.setString(2, "loader");
                try (ResultSet rows = statement.executeQuery()) {
                    ResultSetMetaData columns = rows.getMetaData();
                    while (rows.next()) {
                        String[] tables = (String[]) rows.getArray("tables").getArray();
                        System.out.println("row " + rows.getTimestamp("time").toInstant() + " " + rows.getObject("rows")
                            + " " + rows.getDouble("duration_ms") + " " + tables.length + " " + rows.getBoolean("held")
                            + " " + columns.getColumnTypeName(1));
                    }
                }
            }
        }
        connection.commit();
    }

    static void print(String word, ResultSet rows, String... columns) throws SQLException {
        try (rows) {
            while (rows.next()) {
                StringBuilder line = new StringBuilder(word);
                for (String column : columns) {
                    line.append(" ").append(rows.getString(column));
                }
                System.out.println(line);
            }
        }
    }
}
