//! Stores that must not open, and what they say.

use std::path::Path;

use store::{OpenError, SqliteStore, Store, Txn};

use crate::backend::{ALL, small};

async fn open(directory: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(directory, small(ALL)).await
}

/// A closed store with 500 keys, whose values are easy to find in the file.
async fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await.unwrap();
    for number in 0..500 {
        store.txn(Txn::new().put(format!("k{number}"), format!("<value of k{number}>"))).await.unwrap();
    }
    directory
}

async fn refusal(directory: &Path) -> String {
    let error = open(directory).await.expect_err("it must not open");
    error.to_string()
}

fn change(directory: &Path, sql: &str) {
    let database = rusqlite::Connection::open(directory.join("store.db")).unwrap();
    database.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn a_flipped_bit_is_found_and_its_row_named() {
    let directory = filled().await;
    let path = directory.path().join("store.db");
    let mut content = std::fs::read(&path).unwrap();
    let needle = b"<value of k321>";
    let place = content.windows(needle.len()).position(|window| window == needle).unwrap();
    content[place + 5] ^= 0x10;
    std::fs::write(&path, content).unwrap();
    let told = refusal(directory.path()).await;
    assert!(
        told.contains("revision 322") && told.contains("\"k321\"") && told.contains("checksum"),
        "{told}"
    );
}

#[tokio::test]
async fn a_changed_field_is_found() {
    for (sql, named) in [
        ("UPDATE log SET created = 7 WHERE key = 'k5'", "\"k5\""),
        ("UPDATE log SET lease = 7 WHERE key = 'k5'", "\"k5\""),
        ("UPDATE log SET key = 'k55555' WHERE key = 'k5'", "\"k55555\""),
        ("UPDATE log SET value = NULL WHERE key = 'k5'", "\"k5\""),
        ("UPDATE log SET position = position + 1 WHERE key = 'k5'", "\"k5\""),
        ("DELETE FROM log WHERE key = 'k5'", "revision 6 is missing"),
        ("DELETE FROM meta WHERE name = 'compacted'", "compacted is missing"),
    ] {
        let directory = filled().await;
        change(directory.path(), sql);
        let told = refusal(directory.path()).await;
        assert!(told.contains("damaged") && told.contains(named), "{sql}: {told}");
    }
}

#[tokio::test]
async fn a_torn_page_is_found() {
    let directory = filled().await;
    let path = directory.path().join("store.db");
    let mut content = std::fs::read(&path).unwrap();
    let needle = b"<value of k321>";
    let place = content.windows(needle.len()).position(|window| window == needle).unwrap();
    let sector = place / 512 * 512;
    content[sector..sector + 512].fill(0);
    std::fs::write(&path, content).unwrap();
    let told = refusal(directory.path()).await;
    assert!(told.contains("damaged"), "{told}");
}

#[tokio::test]
async fn a_newer_format_is_left_alone() {
    let directory = filled().await;
    change(directory.path(), "UPDATE meta SET value = 99 WHERE name = 'format'");
    let told = refusal(directory.path()).await;
    assert!(told.contains("format 99") && told.contains("up to 1"), "{told}");
}

#[tokio::test]
async fn something_else_is_not_a_store() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("store.db"), "a letter, not a database ".repeat(1000)).unwrap();
    let error = open(directory.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");

    let directory = tempfile::tempdir().unwrap();
    change(directory.path(), "CREATE TABLE letters (text)");
    let error = open(directory.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn only_one_can_have_it_open() {
    let directory = filled().await;
    let store = open(directory.path()).await.unwrap();
    let error = open(directory.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    drop(store);
    open(directory.path()).await.unwrap();
}
