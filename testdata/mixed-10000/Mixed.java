import java.sql.*;
import java.util.*;

public class Mixed {
    public static void main(String[] args) throws Exception {
        Random random = new Random(5);
        try (Connection c = DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + System.getenv("PORT")
                + "/shop?user=app&sslmode=disable&gssEncMode=disable&ApplicationName=mixed-jdbc")) {
            c.setAutoCommit(false);
            PreparedStatement insert = c.prepareStatement("INSERT INTO event (note) VALUES (?)");
            PreparedStatement select = c.prepareStatement("SELECT id, price, name FROM item WHERE id > ? AND ok IS NOT DISTINCT FROM ? LIMIT 7");
            select.setFetchSize(4);
            for (int i = 0; i < 100; i++) {
                for (int k = 0; k < 10; k++) {
                    if (i % 10 == 4 && k == 6) insert.setNull(1, Types.VARCHAR);
                    else insert.setString(1, "java " + i + " " + k);
                    insert.addBatch();
                }
                try { insert.executeBatch(); } catch (SQLException e) { c.rollback(); }
                select.setInt(1, random.nextInt(1000000));
                select.setNull(2, Types.BOOLEAN);
                try (ResultSet r = select.executeQuery()) { while (r.next()) r.getString(3); }
                if (i % 7 == 0) c.rollback(); else c.commit();
            }
        }
    }
}
