//! `corten console`: an instance's serial console or terminal.

use std::io::IsTerminal;

use http::Method;
use model::compute::Instance;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::api::Cloud;
use super::kind::{self, Target};
use super::parse;
use super::terminal::Raw;
use crate::failure::Failure;

/// Ctrl-], as telnet has it.
const ESCAPE: u8 = 0x1d;

/// Attach to an instance's console; Ctrl-] leaves it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = parse::instance)]
    name: String,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let target = Target::new(kind::of::<Instance>(), &args.name)?;
    let stream = cloud.https.upgrade(Method::POST, &cloud.path_below(target, "console")).await?;
    let (mut from, mut to) = tokio::io::split(stream);
    let on_terminal = std::io::stdin().is_terminal();
    if on_terminal && !cloud.global.quiet {
        eprintln!("console of {}; Ctrl-] leaves it", args.name);
    }
    let _raw = Raw::enter()?;
    let input = async {
        let mut stdin = tokio::io::stdin();
        let mut keys = [0; 1024];
        loop {
            let n = stdin.read(&mut keys).await?;
            let (typed, leave) = until_escape(&keys[..n], on_terminal);
            to.write_all(typed).await?;
            to.flush().await?;
            if leave {
                return Ok(());
            }
            if n == 0 {
                // A script has said all it had to say; what it started may still answer.
                std::future::pending::<()>().await;
            }
        }
    };
    let output = async {
        let mut stdout = tokio::io::stdout();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match from.read(&mut buffer).await {
                Ok(n) if n > 0 => {
                    stdout.write_all(&buffer[..n]).await?;
                    stdout.flush().await?;
                }
                // Going away without a farewell is how consoles end.
                _ => return Ok(()),
            }
        }
    };
    let result: std::io::Result<()> = tokio::select! {
        result = input => result,
        result = output => result,
    };
    result.map_err(Failure::io("the console broke off"))
}

/// What was typed ahead of the escape key, and whether it was there. Only a person has an escape key.
fn until_escape(keys: &[u8], on_terminal: bool) -> (&[u8], bool) {
    match keys.iter().position(|key| *key == ESCAPE).filter(|_| on_terminal) {
        Some(at) => (&keys[..at], true),
        None => (keys, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_key_leaves_and_is_not_sent() {
        assert_eq!(until_escape(b"ab\x1dcd", true), (&b"ab"[..], true));
        assert_eq!(until_escape(b"abcd", true), (&b"abcd"[..], false));
        assert_eq!(until_escape(b"ab\x1d", false), (&b"ab\x1d"[..], false));
    }
}
