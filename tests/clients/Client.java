// pgjdbc with its defaults: extended protocol, unnamed statements, named ones after five uses.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

public class Client {
    public static void main(String[] arguments) throws Exception {
        String mode = arguments[1];
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            if (mode.equals("read")) {
                read(connection);
                return;
            }
            try {
                if (mode.equals("delete")) {
                    delete(connection, arguments[2]);
                } else {
                    run(connection, mode, arguments[2]);
                }
            } catch (SQLException error) {
                System.out.println("error " + error.getSQLState() + " " + error.getMessage().lines().findFirst().get());
                System.out.println("shown \"" + error.toString().replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\"");
            }
            try (Statement statement = connection.createStatement(); ResultSet one = statement.executeQuery("SELECT 1")) {
                one.next();
                System.out.println("after " + one.getInt(1));
            }
        }
    }

    static void read(Connection connection) throws SQLException {
        int rows = 0;
        try (Statement statement = connection.createStatement()) {
            rows += count(statement.executeQuery("SELECT id, status, placed_at, note FROM orders ORDER BY id LIMIT 5"));
        }
        try (PreparedStatement statement = connection.prepareStatement("SELECT name FROM customers WHERE id = ?")) {
            for (long id = 1; id < 9; id++) {
                statement.setLong(1, id);
                rows += count(statement.executeQuery());
            }
        }
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(4);
            rows += count(statement.executeQuery("SELECT id FROM suppliers ORDER BY id LIMIT 10"));
        }
        connection.commit();
        connection.setAutoCommit(true);
        rows += count(connection.getMetaData().getTables(null, "public", "orders", null));
        System.out.println("rows " + rows);
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
        String text = "DELETE FROM " + table + " WHERE n > ? RETURNING n";
        try (PreparedStatement statement = connection.prepareStatement(text)) {
            statement.setInt(1, 3);
            System.out.println("rows " + count(statement.executeQuery()));
        }
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
