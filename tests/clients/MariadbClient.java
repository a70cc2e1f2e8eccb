// MariaDB Connector/J with its defaults: two queries at once on connect, text protocol, parameters in the text; where the
// URL asks for it, statements prepared by the server.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

public class MariadbClient {
    public static void main(String[] arguments) throws Exception {
        String mode = arguments[1];
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            if (mode.equals("read")) {
                read(connection, arguments[0]);
                return;
            }
            try {
                switch (mode) {
                    case "delete" -> delete(connection, arguments[2]);
                    case "transaction" -> transaction(connection, arguments[2]);
                    default -> run(connection, mode, arguments[2]);
                }
            } catch (SQLException error) {
                report(error);
            }
            System.out.println("after " + one(connection, "SELECT 1"));
        }
    }

    static void report(SQLException error) {
        System.out.println("error " + error.getErrorCode() + " " + error.getMessage().lines().findFirst().get());
        System.out.println("shown \"" + error.toString().replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\"");
    }

    static int one(Connection connection, String text) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(text)) {
            rows.next();
            return rows.getInt(1);
        }
    }

    static void read(Connection connection, String url) throws SQLException {
        int rows = 0;
        try (Statement statement = connection.createStatement()) {
            rows += count(statement.executeQuery("SELECT id, status, total, placed_at, note FROM orders ORDER BY id LIMIT 5"));
        }
        rows += byNumber(connection);
        try (Connection prepared = DriverManager.getConnection(url + "&useServerPrepStmts=true")) {
            rows += byNumber(prepared);
            prepared.setAutoCommit(false);
            try (PreparedStatement statement = prepared.prepareStatement("SELECT id FROM orders WHERE id < ? ORDER BY id")) {
                statement.setFetchSize(4);
                statement.setInt(1, 9);
                rows += count(statement.executeQuery());
            }
            prepared.commit();
        }
        System.out.println("rows " + rows);
    }

    static int byNumber(Connection connection) throws SQLException {
        int rows = 0;
        try (PreparedStatement statement = connection.prepareStatement("SELECT name FROM customers WHERE id = ?")) {
            for (long id = 1; id < 9; id++) {
                statement.setLong(1, id);
                rows += count(statement.executeQuery());
            }
        }
        return rows;
    }

    static void run(Connection connection, String mode, String text) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            if (mode.equals("cancel")) {
                cancelWhenTold(statement);
            }
            statement.execute(text);
            System.out.println("ok");
        }
    }

    static void delete(Connection connection, String table) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("DELETE FROM " + table + " WHERE n > ?")) {
            statement.setInt(1, 3);
            System.out.println("rows " + statement.executeUpdate());
        }
    }

    static void transaction(Connection connection, String table) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.executeUpdate("INSERT INTO " + table + " (n) VALUES (6)");
            try {
                statement.execute("DROP TABLE " + table + "_gone");
                System.out.println("ok");
            } catch (SQLException error) {
                report(error);
            }
        }
        System.out.println("inside " + one(connection, "SELECT COUNT(*) FROM " + table));
        connection.rollback();
    }

    static int count(ResultSet rows) throws SQLException {
        int count = 0;
        while (rows.next()) {
            count++;
        }
        rows.close();
        return count;
    }

    static void cancelWhenTold(Statement statement) {
        Thread thread = new Thread(() -> {
            try {
                new BufferedReader(new InputStreamReader(System.in)).readLine();
                statement.cancel();
            } catch (Exception error) {
                System.err.println("cancel failed: " + error);
            }
        });
        thread.setDaemon(true);
        thread.start();
    }
}
