//! Decisions, one by one.

use std::collections::BTreeSet;

use identity::{ADMINS, Decision, HOSTS, Principal, VisibleProjects, builtin_roles};

use crate::world::{allowed, binding, policy, request, role, user};

#[test]
fn nothing_is_allowed_by_default_and_the_answer_says_so() {
    let policy = policy(&[], &[]);
    let decision = policy.decide(&user("ann"), &request("delete instances web in p"));
    assert_eq!(
        decision,
        Decision::Deny {
            why: "user \"ann\" may not delete instances.compute.corten.dev \"web\" in project \"p\": \
                  no role binding allows it; ask an administrator for one"
                .into()
        }
    );
}

#[test]
fn an_allowed_request_names_its_ground() {
    let policy = policy(&[role("r", &["allow get instances"])], &[binding("b", "r", "@staff", "p")]);
    let Decision::Allow { by } = policy.decide(&user("ann staff"), &request("get instances web in p")) else {
        panic!("denied");
    };
    assert_eq!(by.to_string(), "role binding b (role r)");
}

#[test]
fn a_binding_holds_in_its_projects_only() {
    let policy = policy(&[role("r", &["allow * *"])], &[binding("b", "r", "ann", "p q")]);
    let ann = user("ann");
    assert!(allowed(&policy, &ann, "delete instances web in p"));
    assert!(allowed(&policy, &ann, "list images in q"));
    assert!(!allowed(&policy, &ann, "list images in other"));
    assert!(!allowed(&policy, &ann, "list images"));
    assert!(!allowed(&policy, &ann, "list hosts"));
    assert!(!allowed(&policy, &ann, "get hosts n1"));
    assert!(
        !allowed(&policy, &ann, "list hosts in p"),
        "a project in the path does not make a host the project's"
    );
    assert!(!allowed(&policy, &user("bob"), "get instances web in p"));
}

#[test]
fn a_binding_for_all_projects_holds_for_cloud_wide_kinds_too() {
    let policy = policy(&[role("r", &["allow list,get *"])], &[binding("b", "r", "ann", "*")]);
    for text in ["list images", "list images in p", "get hosts n1", "get instances/console web in p"] {
        assert!(allowed(&policy, &user("ann"), text), "{text}");
    }
    assert!(!allowed(&policy, &user("ann"), "delete hosts n1"));
}

#[test]
fn deny_wins_whatever_allows() {
    let roles = [role("all", &["allow * *"]), role("no-exec", &["deny exec instances/*"])];
    let bindings = [binding("a", "all", "ann", "*"), binding("d", "no-exec", "@temp", "p")];
    let policy = policy(&roles, &bindings);
    let ann = user("ann temp");
    assert!(allowed(&policy, &ann, "exec instances/exec web in q"));
    assert!(allowed(&policy, &user("ann"), "exec instances/exec web in p"));
    let Decision::Deny { why } = policy.decide(&ann, &request("exec instances/exec web in p")) else {
        panic!("allowed");
    };
    assert!(why.ends_with("role binding \"d\" (role \"no-exec\") denies it"), "{why}");
}

#[test]
fn a_deny_cannot_be_got_around_by_listing() {
    let roles = [role("all", &["allow * *"]), role("not-x", &["deny get,list,watch instances names=x"])];
    let policy = policy(&roles, &[binding("a", "all", "ann", "*"), binding("d", "not-x", "ann", "p")]);
    let ann = user("ann");
    assert!(!allowed(&policy, &ann, "get instances x in p"));
    assert!(allowed(&policy, &ann, "get instances y in p"));
    assert!(!allowed(&policy, &ann, "list instances in p"));
    assert!(!allowed(&policy, &ann, "watch instances"), "a watch over all projects would show x");
    assert!(allowed(&policy, &ann, "list instances in q"));
    assert!(allowed(&policy, &ann, "create instances in p"), "the deny is of reading");
    assert!(allowed(&policy, &ann, "list hosts"));
}

#[test]
fn a_deny_by_name_cannot_be_got_around_by_not_saying_the_name() {
    let roles = [role("all", &["allow * *"]), role("not-x", &["deny create instances names=x"])];
    let policy = policy(&roles, &[binding("a", "all", "ann", "*"), binding("d", "not-x", "ann", "p")]);
    assert!(!allowed(&policy, &user("ann"), "create instances x in p"));
    assert!(!allowed(&policy, &user("ann"), "create instances in p"));
    assert!(allowed(&policy, &user("ann"), "create instances y in p"));
}

#[test]
fn an_allow_by_name_does_not_open_the_collection() {
    let policy = policy(&[role("r", &["allow * instances names=x"])], &[binding("b", "r", "ann", "p")]);
    assert!(allowed(&policy, &user("ann"), "delete instances x in p"));
    assert!(allowed(&policy, &user("ann"), "list instances x in p"), "a list of that one name");
    assert!(!allowed(&policy, &user("ann"), "delete instances y in p"));
    assert!(!allowed(&policy, &user("ann"), "list instances in p"));
    assert!(!allowed(&policy, &user("ann"), "delete instances in p"));
}

#[test]
fn groups_of_a_rule_limit_it() {
    let rules = ["allow get * groups=topology.corten.dev"];
    let policy = policy(&[role("r", &rules)], &[binding("b", "r", "ann", "*")]);
    assert!(allowed(&policy, &user("ann"), "get hosts n1"));
    assert!(!allowed(&policy, &user("ann"), "get users bob"));
}

#[test]
fn everyone_known_reads_sizes_zones_and_his_own_projects() {
    let policy = policy(&[role("r", &["allow get images"])], &[binding("b", "r", "ann", "p")]);
    for text in ["list instancetypes", "get zones a"] {
        assert!(allowed(&policy, &user("bob"), text), "{text}");
    }
    assert!(!allowed(&policy, &user("bob"), "create instancetypes big"));
    assert!(allowed(&policy, &user("ann"), "get projects p"));
    for text in ["get projects q", "list projects", "delete projects p"] {
        assert!(!allowed(&policy, &user("ann"), text), "{text}");
    }
    let seen = BTreeSet::from(["p".to_string()]);
    assert_eq!(policy.visible_projects(&user("ann")), VisibleProjects::These(seen));
    assert_eq!(policy.visible_projects(&user("bob")), VisibleProjects::These(BTreeSet::new()));
}

#[test]
fn administrators_and_components() {
    let deny = [role("none", &["deny * *"])];
    let policy = policy(&deny, &[binding("d", "none", "eve", "*"), binding("e", "none", "corten:gc", "*")]);
    let admin = |name| Principal::from_certificate(name, [ADMINS.into()], "01");
    assert!(allowed(&policy, &admin("root"), "delete hosts n1"));
    assert_eq!(policy.visible_projects(&admin("root")), VisibleProjects::All);
    assert!(!allowed(&policy, &admin("eve"), "get hosts n1"), "deny wins over administrators");
    assert!(allowed(&policy, &Principal::component("gc"), "delete hosts n1"), "but not over components");
}

#[test]
fn a_host_reaches_what_its_agent_needs_and_no_other_host() {
    let policy = policy(&[], &[]);
    let n1 = Principal::from_certificate("host:n1", [HOSTS.into()], "01");
    for text in [
        "watch instances",
        "list images",
        "get images/content tiny in p",
        "get keypairs k in p",
        "update instances/status web in p",
        "create instances/release web in p",
        "get hosts n1",
        "create hosts n1",
        "patch hosts/status n1",
        "create leases n1",
        "update leases n1",
        "create events in p",
        "list instancetypes",
    ] {
        assert!(allowed(&policy, &n1, text), "{text}");
    }
    for text in [
        "update instances web in p",
        "delete instances web in p",
        "exec instances/exec web in p",
        "list hosts",
        "get hosts n2",
        "update hosts n1",
        "patch hosts/status n2",
        "create hosts",
        "update leases n2",
        "delete leases n1",
        "list accesskeys",
        "get users ann",
        "update images/status tiny in p",
    ] {
        assert!(!allowed(&policy, &n1, text), "{text}");
    }
    let imposter = user("host:n1 staff");
    assert!(!allowed(&policy, &imposter, "watch instances"), "the name alone is not enough");
}

#[test]
fn builtin_roles_do_what_their_names_say() {
    let bindings = [
        binding("v", "viewer", "vic", "p"),
        binding("e", "editor", "eli", "p"),
        binding("vall", "viewer", "val", "*"),
        binding("a", "admin", "ada", "*"),
    ];
    let policy = policy(&builtin_roles(), &bindings);
    let check = |user_name: &str, text: &str, expected: bool| {
        assert_eq!(allowed(&policy, &user(user_name), text), expected, "{user_name}: {text}");
    };
    check("vic", "list instances in p", true);
    check("vic", "get instances/logs web in p", true);
    check("vic", "list events in p", true);
    check("vic", "get quotas q in p", true);
    check("vic", "get instances/console web in p", false);
    check("vic", "get secrets site in p", false);
    check("vic", "list secrets in p", false);
    check("val", "watch secrets in p", false);
    check("eli", "create secrets site in p", true);
    check("eli", "get secrets site in p", true);
    check("vic", "exec instances/exec web in p", false);
    check("vic", "delete instances web in p", false);
    check("val", "list hosts", true);
    check("val", "list accesskeys", false);
    check("val", "get users ann", false);
    check("eli", "create instances web in p", true);
    check("eli", "exec instances/exec web in p", true);
    check("eli", "update images/content tiny in p", true);
    check("eli", "delete keypairs k in p", true);
    check("eli", "update instances/status web in p", false);
    check("eli", "create instances/binding web in p", false);
    check("eli", "create instances/release web in p", false);
    check("eli", "update quotas q in p", false);
    check("eli", "create events in p", false);
    check("eli", "create instances web in q", false);
    check("ada", "update instances/status web in p", true);
    check("ada", "create rolebindings b", true);
}

#[test]
fn changes_take_effect_and_leave_nothing_behind() {
    let ann = user("ann");
    let mut policy = policy(&[role("r", &["allow get instances"])], &[binding("b", "r", "ann", "p")]);
    let may = |policy: &identity::Policy| allowed(policy, &ann, "get instances web in p");
    assert!(may(&policy));
    policy.upsert_binding(&binding("b", "r", "ann", "q"));
    assert!(!may(&policy));
    policy.upsert_binding(&binding("b", "later", "ann", "p"));
    assert!(!may(&policy), "the role does not exist");
    policy.upsert_role(&role("later", &["allow get instances"]));
    assert!(may(&policy), "now it does");
    policy.remove_role("later");
    assert!(!may(&policy));
    policy.upsert_role(&role("later", &["allow get instances"]));
    policy.remove_binding("b");
    assert!(!may(&policy));
}
