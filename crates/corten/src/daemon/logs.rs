//! Logs of the daemon: one line an event, to standard error; `CORTEN_LOG=debug` says more.

use tracing::level_filters::LevelFilter;

pub(crate) fn to_stderr() {
    let level = match std::env::var("CORTEN_LOG").as_deref() {
        Ok("trace") => LevelFilter::TRACE,
        Ok("debug") => LevelFilter::DEBUG,
        Ok("warn") => LevelFilter::WARN,
        _ => LevelFilter::INFO,
    };
    // On a full disk a line is lost. Complaining about it on the same stream would fail too, and that panics.
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(level)
        .log_internal_errors(false);
    // A second call in one process keeps the first subscriber; there is nothing to do about it.
    let _ = subscriber.try_init();
}
