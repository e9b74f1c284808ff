import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;

/** Runs the statements of a folder with the JDBC driver of Flight SQL and prints their rows as JSON, a line each; then the tables. */
public final class Query {
  public static void main(String[] arguments) throws Exception {
    List<Path> statements;
    try (var files = Files.list(Path.of(arguments[1]))) {
      statements = files.filter(path -> path.toString().endsWith(".sql")).sorted().toList();
    }
    try (Connection connection = DriverManager.getConnection(arguments[0])) {
      for (Path path : statements) {
        String text = Files.readString(path);
        Path values = Path.of(path.toString().replace(".sql", ".values"));
        try {
          System.out.println(Files.exists(values) ? bound(connection, text, Files.readAllLines(values)) : plain(connection, text));
        } catch (Exception error) {
          throw new IllegalStateException(text, error);
        }
      }
      refused(connection);
      List<Object> tables = new ArrayList<>();
      try (ResultSet rows = connection.getMetaData().getTables(null, "public", null, new String[] {"TABLE"})) {
        while (rows.next()) {
          tables.add(rows.getString("TABLE_NAME"));
        }
      }
      for (Object table : tables) {
        try (ResultSet rows = connection.getMetaData().getColumns(null, "public", (String) table, null)) {
          check(rows.next(), "no columns of " + table);
        }
      }
      check(connection.getMetaData().getDatabaseProductName().equals("Flamestore"), "another name of the server");
      check(connection.getMetaData().isReadOnly(), "the server takes writes");
      System.out.println(json(tables));
    }
    // Tools that insist on a name and a password may have them.
    try (Connection connection = DriverManager.getConnection(arguments[0], "somebody", "secret")) {
      check(plain(connection, "SELECT 7 AS n").equals("[[7]]"), "with a name and a password there are other rows");
    }
  }

  private static String plain(Connection connection, String text) throws SQLException {
    try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(text)) {
      return json(rows);
    }
  }

  private static String bound(Connection connection, String text, List<String> values) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(text)) {
      for (int at = 0; at < values.size(); at++) {
        String[] parts = values.get(at).split("\t", 2);
        switch (parts[0]) {
          case "int" -> statement.setLong(at + 1, Long.parseLong(parts[1]));
          case "datetime" -> statement.setTimestamp(at + 1, Timestamp.from(OffsetDateTime.parse(parts[1]).toInstant()));
          default -> statement.setString(at + 1, parts[1]);
        }
      }
      try (ResultSet rows = statement.executeQuery()) {
        return json(rows);
      }
    }
  }

  /** A wrong statement is told what is wrong with it. */
  private static void refused(Connection connection) {
    try {
      plain(connection, "SELECT * FROM nowhere");
      check(false, "a wrong statement has rows");
    } catch (SQLException error) {
      check(String.valueOf(error.getMessage()).contains("nowhere"), "a wrong statement is told " + error.getMessage());
    }
  }

  private static void check(boolean holds, String otherwise) {
    if (!holds) {
      throw new IllegalStateException(otherwise);
    }
  }

  /** The rows as JSON, each told before the next is asked for: an array of the driver's is gone with its batch. */
  private static String json(ResultSet rows) throws SQLException {
    List<String> all = new ArrayList<>();
    int columns = rows.getMetaData().getColumnCount();
    while (rows.next()) {
      List<Object> row = new ArrayList<>();
      for (int column = 1; column <= columns; column++) {
        int type = rows.getMetaData().getColumnType(column);
        boolean isTime = type == Types.TIMESTAMP || type == Types.TIMESTAMP_WITH_TIMEZONE;
        // the driver has no object for times with a zone
        row.add(isTime ? rows.getTimestamp(column) : rows.getObject(column));
      }
      all.add(json(row));
    }
    return "[" + String.join(", ", all) + "]";
  }

  private static String json(Object value) throws SQLException {
    if (value == null || value instanceof Boolean || value instanceof Number) {
      return String.valueOf(value);
    }
    if (value instanceof Timestamp time) {
      Instant instant = time.toInstant();
      return String.valueOf(instant.getEpochSecond() * 1_000_000_000L + instant.getNano());
    }
    if (value instanceof byte[] bytes) {
      return json(Base64.getEncoder().encodeToString(bytes));
    }
    if (value instanceof java.sql.Array array) {
      return json(List.of((Object[]) array.getArray()));
    }
    if (value instanceof Map<?, ?> map) {
      List<String> entries = new ArrayList<>();
      for (Map.Entry<?, ?> entry : map.entrySet()) {
        entries.add(json(String.valueOf(entry.getKey())) + ": " + json(entry.getValue()));
      }
      return "{" + String.join(", ", entries) + "}";
    }
    if (value instanceof List<?> list) {
      List<String> entries = new ArrayList<>();
      for (Object entry : list) {
        entries.add(json(entry));
      }
      return "[" + String.join(", ", entries) + "]";
    }
    return text(String.valueOf(value));
  }

  private static String text(String value) {
    StringBuilder out = new StringBuilder("\"");
    for (char c : value.toCharArray()) {
      if (c == '"' || c == '\\') {
        out.append('\\').append(c);
      } else if (c < 0x20 || c > 0x7e) {
        out.append(String.format("\\u%04x", (int) c));
      } else {
        out.append(c);
      }
    }
    return out.append('"').toString();
  }
}
