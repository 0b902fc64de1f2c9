// PostgreSQL's JDBC driver: prepared after five executions, batches, fetch size, generated keys, savepoints, COPY, cancel.
import java.io.*;
import java.math.BigDecimal;
import java.sql.*;
import java.time.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class Run {
    static Connection connect(String name, String more) throws SQLException {
        return DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + System.getenv("PORT")
            + "/shop?user=app&sslmode=disable&gssEncMode=disable&ApplicationName=" + name + more);
    }

    static void fails(Statement s, String sql) {
        try { s.execute(sql); } catch (SQLException e) { System.out.println(e.getSQLState()); }
    }

    public static void main(String[] args) throws Exception {
        try (Connection c = connect("jdbc", "")) {
            PreparedStatement p = c.prepareStatement(
                "INSERT INTO item (id, name, price, weight, made, sold, ok, tags, sizes, doc, raw) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?::jsonb, ?)");
            Object[][] items = {
                {1, "Öl \"extra\"", new BigDecimal("12.50"), 0.1, OffsetDateTime.parse("2024-02-29T12:34:56.789Z"), LocalDate.of(2024, 2, 29), true,
                    new String[] {"a", "b c", null}, new Integer[] {1, 2, null}, "{\"k\": [1, null, \"ü\"]}", new byte[] {(byte) 0xde, (byte) 0xad, 0}},
                {2, "", new BigDecimal("-0.01"), Double.NaN, OffsetDateTime.parse("1999-12-31T23:59:59Z"), LocalDate.of(1900, 1, 1), false,
                    new String[0], new Integer[0], "null", new byte[0]},
                {3, null, null, null, null, null, null, null, null, null, null},
            };
            for (Object[] item : items) {
                for (int i = 0; i < item.length; i++) {
                    Object v = item[i];
                    if (v instanceof String[]) v = c.createArrayOf("text", (Object[]) v);
                    if (v instanceof Integer[]) v = c.createArrayOf("int4", (Object[]) v);
                    if (v == null) p.setNull(i + 1, new int[] {Types.INTEGER, Types.VARCHAR, Types.NUMERIC, Types.DOUBLE, Types.TIMESTAMP_WITH_TIMEZONE,
                        Types.DATE, Types.BOOLEAN, Types.ARRAY, Types.ARRAY, Types.VARCHAR, Types.BINARY}[i]);
                    else p.setObject(i + 1, v);
                }
                p.executeUpdate();
            }
            Statement s = c.createStatement();
            try (ResultSet r = s.executeQuery("SELECT * FROM item ORDER BY id")) { while (r.next()) System.out.println(r.getString(2)); }
            // the sixth execution is of a named statement, and its results are binary
            PreparedStatement q = c.prepareStatement("SELECT id, price, weight, made FROM item WHERE id >= ? ORDER BY id");
            for (int i = 0; i < 8; i++) {
                q.setInt(1, i % 4);
                try (ResultSet r = q.executeQuery()) { while (r.next()) r.getObject(4); }
            }
            s.execute("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$");
            System.out.println(s.getWarnings());
            fails(s, "SELECT 1/0");
            fails(s, "SELEC 1");
            fails(s, "SELECT 'one'; SELECT 1/0; SELECT 'never'");
            s.execute("CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1), (2); SELECT * FROM t");
            // generated keys
            PreparedStatement k = c.prepareStatement("INSERT INTO event (note) VALUES (?)", Statement.RETURN_GENERATED_KEYS);
            k.setString(1, "with a key");
            k.executeUpdate();
            try (ResultSet r = k.getGeneratedKeys()) { r.next(); System.out.println(r.getInt(1)); }
            // batches
            c.setAutoCommit(false);
            PreparedStatement b = c.prepareStatement("INSERT INTO event (note) VALUES (?)");
            for (int i = 0; i < 12; i++) { b.setString(1, "batch " + i); b.addBatch(); }
            System.out.println(Arrays.toString(b.executeBatch()));
            s.addBatch("UPDATE event SET note = 'x' WHERE id = 1");
            s.addBatch("DELETE FROM event WHERE id = 2");
            s.executeBatch();
            c.commit();
            b.setString(1, "good"); b.addBatch();
            b.setNull(1, Types.VARCHAR); b.addBatch();
            b.setString(1, "behind the error"); b.addBatch();
            try { b.executeBatch(); } catch (BatchUpdateException e) { System.out.println(e.getSQLState()); }
            fails(s, "SELECT 'never runs'");
            c.rollback();
            // savepoints
            s.executeUpdate("INSERT INTO event (note) VALUES ('kept')");
            Savepoint sp = c.setSavepoint("sp");
            fails(s, "INSERT INTO item (id) VALUES (1)");
            c.rollback(sp);
            s.executeUpdate("UPDATE item SET price = price + 1 WHERE id = 1");
            c.commit();
            // a fetch size: the portal is executed in parts
            Statement f = c.createStatement();
            f.setFetchSize(4);
            try (ResultSet r = f.executeQuery("SELECT i, i::text FROM generate_series(1, 10) i")) { while (r.next()) r.getInt(1); }
            try (ResultSet r = f.executeQuery("SELECT i FROM generate_series(1, 100) i")) { r.next(); }      // closed before its end
            PreparedStatement fp = c.prepareStatement("SELECT id FROM item WHERE id > ?");
            fp.setFetchSize(1);
            for (int i = 0; i < 7; i++) {
                fp.setInt(1, i % 2);
                try (ResultSet r = fp.executeQuery()) { while (r.next()) r.getInt(1); }
            }
            c.commit();
            Statement m = c.createStatement();
            m.setMaxRows(2);
            try (ResultSet r = m.executeQuery("SELECT i FROM generate_series(1, 10) i")) { while (r.next()) r.getInt(1); }
            c.rollback();
            // an updatable result set
            Statement u = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
            try (ResultSet r = u.executeQuery("SELECT id, name FROM item WHERE id = 1")) { r.next(); r.updateString(2, "updated"); r.updateRow(); }
            c.commit();
            c.setAutoCommit(true);
            // COPY
            CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
            System.out.println(copy.copyIn("COPY item (id, name) FROM STDIN (FORMAT csv)", new StringReader("10,zehn\n11,\"elf, ü\"\n")));
            StringWriter out = new StringWriter();
            System.out.println(copy.copyOut("COPY (SELECT id, name FROM item ORDER BY id) TO STDOUT", out));
            try { copy.copyIn("COPY item (id) FROM STDIN", new StringReader("x\n")); } catch (SQLException e) { System.out.println(e.getSQLState()); }
            // notifications
            s.execute("LISTEN news");
            s.execute("NOTIFY news, 'the payload'");
            System.out.println(c.unwrap(PGConnection.class).getNotifications(500).length);
            // function calls
            try (CallableStatement call = c.prepareCall("{ ? = call upper(?) }")) {
                call.registerOutParameter(1, Types.VARCHAR);
                call.setString(2, "äb");
                call.execute();
                System.out.println(call.getString(1));
            }
            // cancel, by the client and by its timeout
            Statement slow = c.createStatement();
            Thread t = new Thread(() -> { try { Thread.sleep(300); slow.cancel(); } catch (Exception e) { } });
            t.start();
            fails(slow, "SELECT pg_sleep(30)");
            t.join();
            slow.setQueryTimeout(1);
            fails(slow, "SELECT pg_sleep(29)");
            System.out.println(c.getMetaData().getTables(null, "public", "item", null).next());
            System.out.println(c.isValid(1));
        }
        try (Connection c = connect("jdbc-simple", "&preferQueryMode=simple"); Statement s = c.createStatement()) {
            s.executeQuery("SELECT 1");
            PreparedStatement p = c.prepareStatement("SELECT ?::int + 1, ?");
            p.setInt(1, -41); p.setString(2, "it's");
            p.executeQuery();
            fails(s, "SELECT 1/0");
        }
        try (Connection c = connect("jdbc-prepare-at-once", "&prepareThreshold=-1&reWriteBatchedInserts=true&binaryTransfer=true&preparedStatementCacheQueries=2")) {
            PreparedStatement b = c.prepareStatement("INSERT INTO event (note) VALUES (?)");
            for (int i = 0; i < 7; i++) { b.setString(1, "rewritten " + i); b.addBatch(); }
            b.executeBatch();
            for (int i = 0; i < 3; i++) for (int j = 0; j < 2; j++)
                try (PreparedStatement p = c.prepareStatement("SELECT " + i + " + ?")) { p.setInt(1, j); p.executeQuery(); }
        }
        try (Connection c = connect("jdbc-autosave", "&autosave=always")) {
            c.setAutoCommit(false);
            Statement s = c.createStatement();
            s.executeQuery("SELECT 'before'");
            fails(s, "SELECT 1/0");
            s.executeQuery("SELECT 'goes on'");
            c.commit();
        }
    }
}
