"""A session in each of some client encodings, by libpq's own functions, so that every byte is known."""
import os
from psycopg import pq

# In SJIS, BIG5, GBK, GB18030 and UHC the last byte of the word looks like a letter or a backslash, just before a quote.
WORDS = {"LATIN1": ("latin-1", "Größe ÿ"), "WIN1251": ("cp1251", "Цена №"), "EUC_JP": ("euc_jp", "能力の表"), "SJIS": ("cp932", "能力の表"),
         "BIG5": ("big5", "蓋許功"), "GBK": ("gbk", "表誠"), "GB18030": ("gb18030", "ø誠"), "UHC": ("cp949", "하똠"), "SQL_ASCII": ("utf-8", "é表")}

def session(encoding, codec, word):
    conninfo = f"host=127.0.0.1 port={os.environ['PORT']} user=app dbname=shop sslmode=disable gssencmode=disable"
    c = pq.PGconn.connect(f"{conninfo} client_encoding={encoding} application_name={encoding}".encode())
    w = lambda text: text.replace("@", word).encode(codec)
    def done(result):
        print(encoding, pq.ExecStatus(result.status).name, result.error_message[:80])
        return result
    done(c.exec_(w('''SELECT E'@' AS "@", '@'||E'\\\\' -- @''')))
    done(c.exec_(w("SELECT '@'; SELECT '@', 7")))
    done(c.prepare(w("s @"), w("SELECT $1::text AS \"@\", E'@' || $2")))
    done(c.describe_prepared(w("s @")))
    done(c.exec_prepared(w("s @"), [w("@"), w("'@'")]))
    done(c.exec_(w('PREPARE "q @" AS SELECT $1::text')))
    done(c.exec_prepared(w("q @"), [w("@")]))
    done(c.exec_(w('SELECT * FROM "@"')))
    done(c.exec_params(w("SELECT $1::int"), [w("@")]))
    done(c.exec_(w("DO $$ BEGIN RAISE NOTICE '%', E'@'; END $$")))
    done(c.exec_(w('LISTEN "@"')))
    done(c.exec_(w("NOTIFY \"@\", '@'")))
    done(c.exec_(w('SET search_path = public, "@"')))
    done(c.exec_(b"COPY event (note) FROM STDIN"))
    c.put_copy_data(w("@\n"))
    c.put_copy_data(w("@ cut\n")[:len(w("@")) - 1])     # inside a character, where they have several bytes
    c.put_copy_data(w("@ cut\n")[len(w("@")) - 1:])
    c.put_copy_end()
    done(c.get_result())
    while c.get_result():
        pass
    done(c.exec_(b"COPY (SELECT note FROM event ORDER BY id DESC LIMIT 1) TO STDOUT"))
    while (data := c.get_copy_data(0))[0] > 0:
        pass
    while c.get_result():
        pass
    # Names stay what they are when the encoding is another one, and parameters are what they were when they were sent.
    done(c.exec_(b"SET client_encoding TO 'UTF8'"))
    done(c.exec_prepared(f"q {word}".encode(), [word.encode()]))
    done(c.exec_params(b"SELECT set_config('client_encoding', $1, false), $2::text", [encoding.encode(), word.encode()]))
    done(c.exec_prepared(w("s @"), [w("@"), w("again @")]))
    done(c.exec_(w('DEALLOCATE "q @"')))
    c.finish()

for encoding, (codec, word) in WORDS.items():
    session(encoding, codec, word)
