//! Batches take effect as a whole or not at all, whatever their size, and say what was wrong.

use nft::{
    Base, Batch, Chain, ChainKind, Connection, Element, Family, Field, Hook, KeyType, NftError, Policy, Rule,
    Set, Verdict, key,
};

use crate::support::{in_own_network, listing};

const FAMILY: Family = Family::Inet;

fn refusal(connection: &mut Connection, batch: &Batch) -> String {
    match connection.commit(batch) {
        Err(NftError::Refused { operation, number, of, source }) => {
            format!("{operation}; {number}/{of}; {source}")
        }
        other => panic!("expected a refusal: {other:?}"),
    }
}

#[test]
fn a_refused_operation_is_named_and_nothing_is_left() {
    in_own_network(|mut connection| {
        let mut batch = Batch::new();
        batch.add_table(FAMILY, "t");
        batch.delete_chain(FAMILY, "t", "nobody");
        batch.add_chain(FAMILY, "t", &Chain { name: "c".into(), base: None });
        let told = refusal(&mut connection, &batch);
        assert_eq!(told, "delete chain inet t nobody; 2/3; no such file or directory");
        assert!(listing().is_empty());

        let mut batch = Batch::new();
        batch.add_table(FAMILY, "t");
        batch.add_chain(FAMILY, "t", &Chain { name: "c".into(), base: None });
        batch.append_rule(FAMILY, "t", "c", &Rule::new().jump("nowhere").comment("astray"));
        let told = refusal(&mut connection, &batch);
        assert_eq!(told, "add rule to inet t c (astray); 3/3; no such file or directory");
        assert!(listing().is_empty());
    });
}

#[test]
fn chains_that_go_round_are_refused() {
    in_own_network(|mut connection| {
        let mut batch = Batch::new();
        batch.add_table(FAMILY, "t");
        for name in ["a", "b"] {
            batch.add_chain(FAMILY, "t", &Chain { name: name.into(), base: None });
        }
        let base = Base { kind: ChainKind::Filter, hook: Hook::Forward, priority: 0, policy: Policy::Accept };
        batch.add_chain(FAMILY, "t", &Chain { name: "forward".into(), base: Some(base) });
        batch.append_rule(FAMILY, "t", "forward", &Rule::new().jump("a"));
        batch.append_rule(FAMILY, "t", "a", &Rule::new().jump("b"));
        batch.append_rule(FAMILY, "t", "b", &Rule::new().jump("a"));
        assert!(connection.commit(&batch).is_err());
        assert!(listing().is_empty());
    });
}

#[test]
fn thousands_of_operations_are_one_commit() {
    const CHAINS: u32 = 5000;
    const ELEMENTS: u32 = 50_000;
    in_own_network(|mut connection| {
        let mut batch = Batch::new();
        batch.add_table(FAMILY, "t");
        batch.add_set(FAMILY, "t", &Set::new("marks", &[KeyType::Mark]));
        batch.add_set(FAMILY, "t", &Set::verdict_map("ways", &[KeyType::Mark]));
        for chain in 0..CHAINS {
            let name = format!("c{chain}");
            batch.add_chain(FAMILY, "t", &Chain { name: name.clone(), base: None });
            batch.append_rule(FAMILY, "t", &name, &Rule::new().equal(Field::Mark, chain).accept());
        }
        let marks: Vec<Element> = (0..ELEMENTS).map(|mark| Element::new(key([mark.into()]))).collect();
        batch.add_elements(FAMILY, "t", "marks", &marks);
        let ways = (0..CHAINS)
            .map(|c| Element::with_verdict(key([c.into()]), Verdict::Goto(format!("c{c}"))))
            .collect::<Vec<_>>();
        batch.add_elements(FAMILY, "t", "ways", &ways);
        let before = connection.generation().expect("generation");
        connection.commit(&batch).expect("commit");
        assert_eq!(connection.generation().expect("generation"), before + 1);
        assert_eq!(connection.chains().expect("chains").len(), CHAINS as usize);
        assert_eq!(connection.rules(FAMILY, "t").expect("rules").len(), CHAINS as usize);
        let mut found = connection.elements(FAMILY, "t", "marks").expect("elements");
        found.sort();
        assert_eq!(found.len(), ELEMENTS as usize);

        // One that fails among thousands is still found.
        let mut batch = Batch::new();
        for chain in 0..CHAINS {
            batch.append_rule(FAMILY, "t", &format!("c{chain}"), &Rule::new().drop());
        }
        batch.delete_set(FAMILY, "t", "absent");
        for chain in 0..CHAINS {
            batch.append_rule(FAMILY, "t", &format!("c{chain}"), &Rule::new().drop());
        }
        let told = refusal(&mut connection, &batch);
        assert_eq!(told, "delete set inet t absent; 5001/10001; no such file or directory");
        assert_eq!(connection.generation().expect("generation"), before + 1);
    });
}

#[test]
fn rules_are_found_by_handle_comment_and_digest() {
    in_own_network(|mut connection| {
        let rule = Rule::new().accept().comment("first");
        let mut batch = Batch::new();
        batch.add_table(FAMILY, "t");
        batch.add_chain(FAMILY, "t", &Chain { name: "c".into(), base: None });
        batch.append_rule(FAMILY, "t", "c", &Rule::new().drop());
        batch.insert_rule(FAMILY, "t", "c", &rule);
        connection.commit(&batch).expect("commit");
        let rules = connection.rules(FAMILY, "t").expect("rules");
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0].comment.as_deref(), Some("first"));
        assert_eq!(rules[0].digest, Some(rule.digest()));
        let mut batch = Batch::new();
        batch.delete_rule(FAMILY, "t", "c", rules[0].handle);
        connection.commit(&batch).expect("commit");
        assert_eq!(listing(), ["table inet t {", "chain c {", "drop", "}", "}"]);
    });
}
