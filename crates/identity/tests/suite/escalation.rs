//! No one gives away what he does not hold.

use identity::{Policy, Principal, builtin_roles};

use crate::world::{binding, policy, role, user, words};

fn cloud() -> Policy {
    let mut roles = builtin_roles();
    roles.push(role("no-exec", &["deny exec instances/exec"]));
    let bindings = [
        binding("1", "editor", "eli", "p"),
        binding("2", "admin", "ada", "*"),
        binding("3", "admin", "amy", "*"),
        binding("4", "no-exec", "amy", "p"),
        binding("5", "viewer", "@staff", "p"),
    ];
    policy(&roles, &bindings)
}

#[test]
fn rights_are_granted_by_those_who_hold_them() {
    let check = |who: &str, rules: &[&str], projects: &str, expected: bool| {
        let result = cloud().may_grant(&user(who), &role("new", rules), &words(projects));
        assert_eq!(result.is_ok(), expected, "{who} {rules:?} in {projects}: {result:?}");
    };
    check("eli", &["allow get,delete instances"], "p", true);
    check("eli", &["allow get instances names=web"], "p", true);
    check("eli", &["allow * instances/exec"], "p", true);
    check("eli", &["allow get instances"], "p q", false);
    check("eli", &["allow get instances"], "*", false);
    check("eli", &["allow update instances/status"], "p", false);
    check("eli", &["allow * *"], "p", false);
    check("eli", &["deny * *"], "p", true);
    check("bob", &["allow get instances"], "p", false);
    check("ada", &["allow * *"], "*", true);
    check("amy", &["allow * *"], "q", true);
    check("amy", &["allow * *"], "p", false);
    check("amy", &["allow * *"], "*", false);
    check("amy", &["allow * instances/*"], "p", false);
    check("amy", &["allow get,list *"], "*", true);
}

#[test]
fn the_refusal_names_the_right_and_the_place() {
    let role = role("new", &["allow delete images groups=compute.corten.dev names=x"]);
    let refused = cloud().may_grant(&user("vic staff"), &role, &words("p")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "user \"vic\" does not hold `delete images of compute.corten.dev \"x\"` in project \"p\" \
         and so cannot grant it; ask an administrator"
    );
}

#[test]
fn a_deny_is_lifted_only_by_who_holds_what_it_denies() {
    let deny = role("no-exec", &["deny exec instances/exec"]);
    assert!(cloud().may_revoke(&user("amy"), &deny, &words("p")).is_err(), "it binds her");
    assert!(cloud().may_revoke(&user("ada"), &deny, &words("p")).is_ok());
    assert!(cloud().may_revoke(&user("vic staff"), &deny, &words("p")).is_err());
    let allow = role("r", &["allow * *"]);
    assert!(
        cloud().may_revoke(&user("bob"), &allow, &words("*")).is_ok(),
        "an allow is no one's loss to lift"
    );
}

#[test]
fn credentials_and_memberships_carry_the_rights_of_their_bearer() {
    let check = |who: &str, target: &str, groups: &str, expected: bool| {
        let result = cloud().may_act_as(&user(who), target, &words(groups));
        assert_eq!(result.is_ok(), expected, "{who} as {target} {groups}: {result:?}");
    };
    check("eli", "eli", "", true);
    check("eli", "ada", "", false);
    check("ada", "eli", "staff", true);
    check("bob", "eve", "", true);
    check("bob", "eve", "staff", false);
    check("vic staff", "eve", "staff", true);
    check("vic staff", "eli", "", false);
    let component = Principal::component("bootstrap");
    assert!(cloud().may_act_as(&component, "ada", &[]).is_ok());
}
