//! Declared tables: what is there stays, what differs changes, and both at one moment.

use nft::{
    Actual, Base, ChainKind, Connection, Element, Family, Field, Hook, KeyType, Policy, Rule, Set, Table,
    Verdict, intervals, key,
};

use crate::support::{in_own_network, listing};

const FORWARD: Base =
    Base { kind: ChainKind::Filter, hook: Hook::Forward, priority: 0, policy: Policy::Drop };

fn way(index: u32, chain: &str) -> Element {
    Element::with_verdict(key([index.into()]), Verdict::Jump(chain.into()))
}

fn mark(mark: u32) -> Element {
    Element::new(key([mark.into()]))
}

fn table() -> Table {
    let mut table = Table::new(Family::Inet, "t");
    table.set(Set::verdict_map("ways", &[KeyType::InterfaceIndex]), [way(1, "one"), way(2, "two")]);
    table.set(Set::new("marks", &[KeyType::Mark]), (0..100).map(mark));
    let ranges = [("10.0.0.0", "10.0.0.255"), ("0.0.0.0", "1.255.255.255")];
    let ranges = ranges.map(|(first, last)| (first.parse().unwrap(), last.parse().unwrap()));
    table.set(Set::of_intervals("networks", KeyType::Ipv4Address), intervals(ranges));
    table.base_chain("forward", FORWARD, vec![Rule::new().verdict_of(&[Field::InputDevice], "ways")]);
    table.chain("one", vec![Rule::new().in_set(&[Field::Mark], "marks").accept()]);
    table.chain("two", vec![Rule::new().jump("three")]);
    table.chain("three", vec![]);
    table
}

/// As [`changes`], of a table that was written before: what is reckoned from it is what is reckoned from the kernel.
fn changes_from(before: &Table, connection: &mut Connection, table: &Table) -> Vec<String> {
    let remembered = table.difference_from(before);
    let changed = changes(connection, table);
    assert_eq!(remembered.batch.describe().collect::<Vec<_>>(), changed);
    assert_eq!(remembered.takes_away, changed.iter().any(|what| !what.starts_with("add")), "{changed:?}");
    changed
}

/// What a change of the table does, in words.
fn changes(connection: &mut Connection, table: &Table) -> Vec<String> {
    let actual = Actual::read(connection, table.family, &table.name).expect("read");
    let difference = table.difference(&actual);
    connection.commit(&difference.batch).expect("commit");
    let after = Actual::read(connection, table.family, &table.name).expect("read");
    assert!(table.difference(&after).batch.is_empty(), "the second time there is nothing to do");
    difference.batch.describe().map(str::to_owned).collect()
}

#[test]
fn the_second_time_changes_nothing() {
    in_own_network(|mut connection| {
        assert!(table().apply(&mut connection).expect("apply") > 0);
        let (before, lines) = (connection.generation().expect("generation"), listing());
        assert_eq!(table().apply(&mut connection).expect("apply"), 0);
        assert_eq!(connection.generation().expect("generation"), before);
        assert_eq!(listing(), lines);
    });
}

/// What comes by the loopback is counted for it, and nothing else is.
#[test]
fn elements_count_what_matches_them() {
    in_own_network(|mut connection| {
        let lo = key([1_u32.into()]);
        let mut table = Table::new(Family::Inet, "t");
        let set = Set::counting("seen", &[KeyType::InterfaceIndex]);
        table.set(set, [Element::new(lo.clone()), Element::new(key([2_u32.into()]))]);
        let base = Base { hook: Hook::Input, policy: Policy::Accept, ..FORWARD };
        table.base_chain("input", base, vec![Rule::new().in_set(&[Field::InputDevice], "seen").drop()]);
        assert_eq!(connection.counts(Family::Inet, "t", "seen").expect("no table"), []);
        table.apply(&mut connection).expect("apply");
        std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        for _ in 0..3 {
            socket.send_to(b"?", "127.0.0.1:9").expect("send");
        }
        let counts = connection.counts(Family::Inet, "t", "seen").expect("counts");
        assert_eq!(
            counts.iter().filter(|(key, _)| key[..] == lo[..]).map(|(_, n)| *n).collect::<Vec<_>>(),
            [3]
        );
        assert_eq!(counts.iter().map(|(_, packets)| packets).sum::<u64>(), 3);
        let actual = Actual::read(&mut connection, Family::Inet, "t").expect("read");
        assert!(table.difference(&actual).batch.is_empty(), "counts are no difference");
    });
}

#[test]
fn members_come_and_go_without_touching_rules() {
    in_own_network(|mut connection| {
        let mut table = table();
        table.apply(&mut connection).expect("apply");
        table.set(Set::new("marks", &[KeyType::Mark]), (1..101).map(mark));
        let expected = ["delete 1 elements of inet t marks", "add 1 elements of inet t marks"];
        assert_eq!(changes_from(&self::table(), &mut connection, &table), expected);
    });
}

#[test]
fn chains_come_and_go_with_what_refers_to_them() {
    in_own_network(|mut connection| {
        let mut table = table();
        table.apply(&mut connection).expect("apply");
        table.chains.remove("two");
        table.chains.remove("three");
        table.set(Set::verdict_map("ways", &[KeyType::InterfaceIndex]), [way(1, "one"), way(2, "one")]);
        let expected = [
            "flush chain inet t two",
            "delete 1 elements of inet t ways",
            "add 1 elements of inet t ways",
            "delete chain inet t three",
            "delete chain inet t two",
        ];
        assert_eq!(changes_from(&self::table(), &mut connection, &table), expected);
        assert!(!changes_from(&table, &mut connection, &self::table()).is_empty());
        table.sets.remove("ways");
        table.base_chain("forward", FORWARD, vec![]);
        changes_from(&self::table(), &mut connection, &table);
        let before = table.clone();
        table.sets.clear();
        table.chains.clear();
        changes_from(&before, &mut connection, &table);
        assert_eq!(listing(), ["table inet t {", "}"]);
    });
}

#[test]
fn meddling_is_found_and_put_right() {
    in_own_network(|mut connection| {
        table().apply(&mut connection).expect("apply");
        let lines = listing();
        for meddling in [
            "add rule inet t one accept",
            "insert rule inet t forward accept",
            "flush chain inet t two",
            "delete element inet t marks { 7 }",
            "add element inet t networks { 172.16.0.0/12 }",
            "add chain inet t forward { policy accept; }",
            "add chain inet t another",
        ] {
            let status = std::process::Command::new("nft").arg(meddling).status().expect("nft runs");
            assert!(status.success(), "{meddling}");
            assert!(!changes(&mut connection, &table()).is_empty(), "{meddling}");
            assert_eq!(listing(), lines, "{meddling}");
        }
    });
}

#[test]
fn another_hook_or_kind_makes_the_table_anew() {
    in_own_network(|mut connection| {
        let mut table = table();
        table.apply(&mut connection).expect("apply");
        table.base_chain("forward", Base { priority: -5, ..FORWARD }, vec![]);
        table.set(Set::new("marks", &[KeyType::Service]), []);
        assert_eq!(changes_from(&self::table(), &mut connection, &table)[0], "delete table inet t");
        let arp = Table::new(Family::Arp, "t");
        arp.apply(&mut connection).expect("another family is another table");
        assert_eq!(connection.tables().expect("tables").len(), 2);
    });
}

#[test]
fn a_batch_made_for_a_generation_that_is_past_changes_nothing() {
    in_own_network(|mut connection| {
        table().apply(&mut connection).expect("apply");
        let generation = connection.generation().expect("generation");
        let mut batch = nft::Batch::new();
        batch.add_elements(Family::Inet, "t", "marks", &[mark(1000)]);
        connection.commit_if(generation, &batch).expect("nobody came between");
        assert_eq!(
            connection.generation().expect("generation"),
            generation.wrapping_add(1),
            "one commit, one step"
        );
        let lines = listing();
        let mut batch = nft::Batch::new();
        batch.add_elements(Family::Inet, "t", "marks", &[mark(1001)]);
        let refused = connection.commit_if(generation, &batch).expect_err("somebody did");
        assert!(refused.is_outdated(), "{refused}");
        assert_eq!(listing(), lines);
    });
}
