//! A small HTTP server on loopback that plays one scripted answer per connection.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// Serves until its script ends.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Receiver<Vec<String>>,
}

/// Plays `answers`, each to one connection, and closes the connection after it.
pub(crate) fn serve(answers: Vec<Vec<u8>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let _ = seen.send(lines.take_while(|line| !line.is_empty()).collect());
            // The client may have seen enough and gone.
            let _ = stream.write_all(&answer);
        }
    });
    Server { url, requests }
}

impl Server {
    /// The header lines of every request so far, in lower case.
    pub(crate) fn requests(&self) -> Vec<Vec<String>> {
        let lower = |lines: Vec<String>| lines.iter().map(|line| line.to_lowercase()).collect();
        self.requests.try_iter().map(lower).collect()
    }
}

pub(crate) fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for line in headers.iter().chain(&[""]) {
        head.push_str(line);
        head.push_str("\r\n");
    }
    [head.as_bytes(), body].concat()
}
