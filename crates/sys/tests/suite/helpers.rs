//! Helper programs and sockets.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use sys::command::{CommandError, run};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_helper_s_output_is_returned_and_its_words_are_in_the_error() {
    assert_eq!(run("echo", ["a b", "$HOME"], SOON).await.unwrap(), b"a b $HOME\n");
    let failed = run("ls", ["/nowhere"], SOON).await.unwrap_err().to_string();
    assert!(failed.contains("exit status: 2") && failed.contains("/nowhere"), "{failed}");
    let missing = run("no-such-program", ["x"], SOON).await.unwrap_err();
    assert_eq!(missing.to_string(), "no-such-program is not installed");
    let late = run("sleep", ["1000"], Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(late, CommandError::TimedOut { .. }), "{late}");
}

#[test]
fn a_socket_deeper_than_its_address_may_be_long_works_and_carries_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("deep".repeat(50));
    std::fs::create_dir(&folder).unwrap();
    drop(sys::unix::listen(&folder, "s").unwrap());
    let listener = sys::unix::listen(&folder, "s").expect("a socket left from before is replaced");
    let client = sys::unix::connect(&folder, "s").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let file = tempfile::tempfile().unwrap();
    sys::unix::send_descriptor(client.as_fd(), b"take this", file.as_fd()).unwrap();
    let mut said = [0; 9];
    server.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"take this");
    server.write_all(b"thanks").unwrap();
}

#[test]
fn whoever_may_not_wait_is_told_that_nobody_lets_in() {
    let dir = tempfile::tempdir().unwrap();
    let listener = sys::unix::listen(dir.path(), "s").unwrap();
    let mut waiting = Vec::new();
    let full = loop {
        match sys::unix::connect_at_once(dir.path(), "s") {
            Ok(stream) if waiting.len() < 10_000 => waiting.push(stream),
            result => break result,
        }
    };
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(listener.accept().unwrap());
    sys::unix::connect_at_once(dir.path(), "s").expect("one was let in");
    let none = sys::unix::connect_at_once(dir.path(), "none").unwrap_err();
    assert_eq!(none.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_tap_that_does_not_exist_is_not_made() {
    let error = sys::tap::open("corten-none0", None, 1).unwrap_err().to_string();
    assert!(error.starts_with("tap device corten-none0"), "{error}");
}

#[tokio::test]
async fn a_tap_is_opened_in_the_namespace_it_lives_in() {
    let dir = tempfile::tempdir().unwrap();
    sys::namespace::hold(dir.path(), "tap-test").unwrap();
    let namespace = dir.path().join("net");
    let enter = format!("--net={}", namespace.display());
    let add = [enter.as_str(), "ip", "tuntap", "add", "dev", "corten-t0", "mode", "tap", "vnet_hdr"];
    let made = run("nsenter", add, SOON).await;
    let opened = sys::tap::open("corten-t0", Some(&namespace), 4);
    let elsewhere = sys::tap::open("corten-t0", None, 1);
    sys::namespace::release(dir.path()).unwrap();
    made.unwrap();
    assert_eq!(opened.unwrap().len(), 1, "it was made for one queue");
    assert_eq!(elsewhere.unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
