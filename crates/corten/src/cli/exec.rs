//! `corten exec`: a program inside an instance; its exit code is the command's.

use client::frames::Frame;
use http::Method;
use model::compute::Instance;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::api::Cloud;
use super::kind::{self, Target};
use super::parse;
use super::terminal::Raw;
use crate::failure::Failure;

/// Most bytes of input in one frame.
const CHUNK: usize = 16 * 1024;

/// Run a program inside an instance
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = parse::instance)]
    name: String,
    /// Which container, when there are several
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Give the program a terminal
    #[arg(short, long)]
    tty: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<u8, Failure> {
    let target = Target::new(kind::of::<Instance>(), &args.name)?;
    let path = format!("{}?{}", cloud.path_below(target, "exec"), query(&args));
    let stream = cloud.https.upgrade(Method::POST, &path).await?;
    let _raw = if args.tty { Some(Raw::enter()?) } else { None };
    let (from, to) = tokio::io::split(stream);
    tokio::select! {
        code = receive(from, tokio::io::stdout(), tokio::io::stderr()) => code,
        failure = send(tokio::io::stdin(), to) => Err(failure),
    }
}

/// Passes the program's output on until it has ended.
async fn receive(
    mut from: impl AsyncRead + Unpin,
    mut stdout: impl AsyncWrite + Unpin,
    mut stderr: impl AsyncWrite + Unpin,
) -> Result<u8, Failure> {
    let lost = || Failure::failed("the connection to the program was lost");
    loop {
        let frame = Frame::read(&mut from).await.map_err(|_| lost())?.ok_or_else(lost)?;
        let written = match frame {
            Frame::Stdout(data) => write(&mut stdout, &data).await,
            Frame::Stderr(data) => write(&mut stderr, &data).await,
            Frame::Exit(code) => return Ok(exit_code(code)),
            Frame::Failed(message) => return Err(Failure::failed(message)),
            Frame::Stdin(_) => Ok(()),
        };
        written.map_err(Failure::io("cannot write the program's output"))?;
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> std::io::Result<()> {
    to.write_all(data).await?;
    to.flush().await
}

/// Passes the caller's input on. Ends only when that is impossible: the program may outlive its input.
async fn send(mut stdin: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Failure {
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = match stdin.read(&mut buffer).await {
            Ok(n) => n,
            Err(e) => return Failure::io("cannot read the input")(e),
        };
        let frame = Frame::Stdin(buffer[..n].to_vec()).encode();
        // A program that is gone says so on the other half of the stream.
        if write(&mut to, &frame).await.is_err() || n == 0 {
            return std::future::pending().await;
        }
    }
}

/// Codes of programs are one byte; what does not fit is still a failure.
fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn query(args: &Args) -> String {
    let words = args.command.iter().map(|word| format!("command={}", client::percent_encode(word)));
    let container = args.container.iter().map(|name| format!("container={}", client::percent_encode(name)));
    let tty = args.tty.then(|| "tty=true".to_owned());
    words.chain(container).chain(tty).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn received(frames: &[Frame]) -> (Result<u8, Failure>, Vec<u8>, Vec<u8>) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = receive(&bytes[..], &mut out, &mut err).await;
        (code, out, err)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_programs_output_and_code_are_the_commands() {
        let frames = [
            Frame::Stdout(b"out".into()),
            Frame::Stderr(b"err".into()),
            Frame::Stdout(b"put".into()),
            Frame::Exit(7),
        ];
        assert_eq!(received(&frames).await, (Ok(7), b"output".into(), b"err".into()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stream_that_ends_early_is_a_failure() {
        let (code, out, _) = received(&[Frame::Stdout(b"x".into())]).await;
        assert_eq!(
            (code, out),
            (Err(Failure::failed("the connection to the program was lost")), b"x".into())
        );
        let (code, ..) = received(&[Frame::Failed("no such program".into())]).await;
        assert_eq!(code, Err(Failure::failed("no such program")));
    }

    #[test]
    fn codes_fit_into_a_byte() {
        for (code, expected) in [(0, 0), (7, 7), (255, 255), (256, 255), (-1, 255)] {
            assert_eq!(exit_code(code), expected);
        }
    }
}
