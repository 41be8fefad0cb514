//! The forwarder against resolvers of the test's own, on loopback.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use guest_services::{Forwarder, HostForwarder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

const QUERY: [u8; 12] = [7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
const TRUNCATED: u8 = 0x82;
const WHOLE: u8 = 0x80;

/// A message whose last byte tells who it is from.
fn message(id: u8, flags: u8, from: u8) -> Vec<u8> {
    vec![id, 7, flags, 0, 0, 1, 0, 0, 0, 0, 0, from]
}

/// A resolver that answers one query over UDP with all of `answers`, and one over TCP.
async fn resolver(tasks: &mut JoinSet<io::Result<()>>, answers: Vec<Vec<u8>>) -> SocketAddr {
    // Both have to have the same port, which only the second can find out to be taken.
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    tasks.spawn(async move {
        let mut query = [0; 100];
        let (_, from) = udp.recv_from(&mut query).await?;
        for answer in answers {
            udp.send_to(&answer, from).await?;
        }
        // Stays open: a closed socket would refuse what comes late.
        std::future::pending().await
    });
    tasks.spawn(async move {
        let (mut stream, _) = tcp.accept().await?;
        let mut query = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut query).await?;
        assert_eq!(query, QUERY);
        stream.write_all(&[[0, 12].as_slice(), &message(7, WHOLE, b't')].concat()).await
    });
    address
}

/// Who answered, of resolvers that send these over UDP.
async fn check(resolvers: Vec<Vec<Vec<u8>>>, expected: Result<u8, io::ErrorKind>) {
    let mut tasks = JoinSet::new();
    let mut upstreams = Vec::new();
    for answers in resolvers {
        upstreams.push(resolver(&mut tasks, answers).await);
    }
    let forwarder = HostForwarder { patience: Duration::from_millis(300) };
    let found = forwarder.forward(&QUERY, &upstreams).await;
    assert_eq!(found.map(|answer| answer[11]).map_err(|e| e.kind()), expected);
}

#[tokio::test]
async fn the_first_resolver_that_answers_is_taken() {
    check(vec![vec![message(7, WHOLE, b'a')], vec![message(7, WHOLE, b'b')]], Ok(b'a')).await;
    check(vec![vec![], vec![message(7, WHOLE, b'b')]], Ok(b'b')).await;
    check(vec![vec![]], Err(io::ErrorKind::TimedOut)).await;
    check(vec![], Err(io::ErrorKind::NotFound)).await;
}

#[tokio::test]
async fn an_answer_under_another_id_is_passed_over() {
    check(vec![vec![message(8, WHOLE, b'x'), vec![7, 7], message(7, WHOLE, b'a')]], Ok(b'a')).await;
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_over_tcp() {
    check(vec![vec![message(7, TRUNCATED, b'a')]], Ok(b't')).await;
}

#[tokio::test]
async fn a_resolver_that_is_not_there_is_passed_over() {
    let mut tasks = JoinSet::new();
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let upstreams = [gone, resolver(&mut tasks, vec![message(7, WHOLE, b'b')]).await];
    let answer = HostForwarder::default().forward(&QUERY, &upstreams).await.unwrap();
    assert_eq!(answer[11], b'b');
}
