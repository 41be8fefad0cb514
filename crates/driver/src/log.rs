//! How a payload's log file is written, and reading it line by line. Pure.

use model::Timestamp;

/// The form of a log file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// The bytes as they came, as from a serial console.
    #[default]
    Raw,
    /// Kubernetes' CRI form: every line begins with `TIME STREAM F|P `, where P is a line that goes on in the
    /// next entry.
    Cri,
}

/// One line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    pub time: Option<Timestamp>,
    pub is_stderr: bool,
    /// Without the line's end.
    pub text: &'a [u8],
    /// Whether a line's end belongs after the text.
    pub is_whole: bool,
}

impl LogFormat {
    /// Reads one line of the file, with or without its end. What is not in the stated form is given as it is.
    pub fn read_line(self, line: &[u8]) -> LogLine<'_> {
        let (text, is_whole) = line.strip_suffix(b"\n").map_or((line, false), |text| (text, true));
        let raw = LogLine { time: None, is_stderr: false, text, is_whole };
        match self {
            Self::Raw => raw,
            Self::Cri => read_cri(text).unwrap_or(raw),
        }
    }
}

fn read_cri(line: &[u8]) -> Option<LogLine<'_>> {
    let mut fields = line.splitn(4, |b| *b == b' ');
    let time = Timestamp::parse(std::str::from_utf8(fields.next()?).ok()?)?;
    let is_stderr = match fields.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let is_whole = match fields.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(LogLine { time: Some(time), is_stderr, text: fields.next()?, is_whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: LogFormat, line: &str, expected: (bool, bool, &str, bool)) {
        let line = format.read_line(line.as_bytes());
        let text = String::from_utf8_lossy(line.text);
        assert_eq!((line.time.is_some(), line.is_stderr, &*text, line.is_whole), expected);
    }

    #[test]
    fn lines_are_read_in_both_forms() {
        let time = "2026-01-31T12:00:00.123456789+00:00";
        check(LogFormat::Cri, &format!("{time} stdout F hello world\n"), (true, false, "hello world", true));
        check(LogFormat::Cri, &format!("{time} stderr P part\n"), (true, true, "part", false));
        check(LogFormat::Cri, &format!("{time} stdout F \n"), (true, false, "", true));
        check(LogFormat::Cri, "not in the form\n", (false, false, "not in the form", true));
        check(
            LogFormat::Raw,
            &format!("{time} stdout F x"),
            (false, false, &format!("{time} stdout F x"), false),
        );
    }
}
