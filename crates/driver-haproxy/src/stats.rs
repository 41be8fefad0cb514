//! How servers do, read from HAProxy's table of statistics (management guide, section 9.1).

use driver::ServerHealth;

use crate::config::{address_of_server, group_of_backend};

/// What is asked for: lines of servers, of every proxy.
pub(crate) const COMMAND: &str = "show stat -1 4 -1";

/// Every server of every group. One that a group has in two ways is as well as the worse of them.
pub(crate) fn servers(table: &str) -> Vec<ServerHealth> {
    let mut lines = table.lines();
    let header = fields(lines.next().unwrap_or_default().trim_start_matches("# "));
    let column = |name: &str| header.iter().position(|field| field == name);
    let (Some(proxy), Some(server), Some(status)) = (column("pxname"), column("svname"), column("status"))
    else {
        return Vec::new();
    };
    let (check, words) = (column("check_status"), column("last_chk"));
    let mut all: Vec<ServerHealth> = Vec::new();
    for row in lines.map(fields) {
        let get = |at: usize| row.get(at).map(String::as_str).unwrap_or_default();
        let maybe = |at: Option<usize>| at.map(get).unwrap_or_default();
        let (Some(group), Some(address)) = (group_of_backend(get(proxy)), address_of_server(get(server)))
        else {
            continue;
        };
        let reason = reason(get(status), maybe(check), maybe(words));
        let health = ServerHealth { group: group.to_owned(), address, healthy: reason.is_empty(), reason };
        match all.iter_mut().find(|known| known.group == health.group && known.address == address) {
            Some(known) if known.healthy => *known = health,
            Some(_) => {}
            None => all.push(health),
        }
    }
    all
}

/// Why a server takes no part; empty when it does.
fn reason(status: &str, check: &str, words: &str) -> String {
    let up = status.starts_with("UP") || status == "no check";
    match (up, check.trim_start_matches("* ")) {
        (true, "INI") => "not checked yet".into(),
        (true, _) => String::new(),
        (false, check) => {
            let what = match check {
                "L4TOUT" => "does not answer in time",
                "L4CON" => "cannot be connected to",
                "L6TOUT" | "L6RSP" => "does not speak TLS",
                "L7TOUT" => "accepts connections and does not answer in time",
                "L7RSP" => "answers with something that is not HTTP",
                "L7STS" => "answers with an error",
                "INI" | "" => "not checked yet",
                _ => "fails its check",
            };
            if words.is_empty() { what.into() } else { format!("{what}: {words}") }
        }
    }
}

/// Fields of a line with commas; those that hold commas are in quotes.
fn fields(line: &str) -> Vec<String> {
    let (mut all, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    all.push(field);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let table = "# pxname,svname,status,check_status,last_chk\n\
            http-app,10.0.0.7_80,UP,L7OK,\n\
            tcp-app,10.0.0.7_80,DOWN,L4CON,\"Connection refused, really\"\n\
            http-app,10.0.0.8_80,UP 1/3,L4TOUT,\n\
            tcp-dns,fd00::7_53,no check,,\n\
            http-new,10.0.0.9_80,UP,INI,\n\
            http-app,BACKEND,UP,,\n";
        let told: Vec<String> = servers(table)
            .iter()
            .map(|s| format!("{} {} {} {}", s.group, s.address, s.healthy, s.reason))
            .collect();
        assert_eq!(
            told,
            [
                "app 10.0.0.7:80 false cannot be connected to: Connection refused, really",
                "app 10.0.0.8:80 true ",
                "dns [fd00::7]:53 true ",
                "new 10.0.0.9:80 false not checked yet",
            ]
        );
    }
}
