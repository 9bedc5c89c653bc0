# Transactions in both kinds of journal, one of them ended by a kill.
cd /mnt/a
work() {
    sqlite3 -bail "$1" "
        PRAGMA journal_mode = $2;
        CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB);
        CREATE INDEX by_length ON item (length(body), name);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $ROWS)
            INSERT INTO item SELECT i, 'item ' || i, randomblob(i % 700) FROM n;"
    seq "$ROUNDS" | sed "s/.*/UPDATE item SET body = randomblob(500 + &) WHERE id % 97 = & % 97; DELETE FROM item WHERE id = & * 3; INSERT INTO item (name, body) VALUES ('new ' || &, zeroblob(&));/" |
        sqlite3 -bail "$1"
}
checked() {
    test "$(sqlite3 "$1" 'PRAGMA integrity_check; PRAGMA foreign_key_check;')" = ok
    sqlite3 "$1" "SELECT count(*), sum(length(body)), min(id), max(id) FROM item"
}
for mode in delete truncate wal; do
    work $mode.db $mode
    checked $mode.db
    # The next writer is killed somewhere in the middle.
    seq 1000000 | sed "s/.*/UPDATE item SET body = randomblob(300) WHERE id % 50 = & % 50;/" | sqlite3 $mode.db &
    sleep 2
    kill -9 $!
    wait $! || true
    checked $mode.db
done
cd /
umount /mnt/a
$MOUNT
cd /mnt/a
for mode in delete truncate wal; do checked $mode.db; done
rm ./*.db*
