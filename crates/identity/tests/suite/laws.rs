//! Laws that hold for every policy: compared with a slow and obvious reading of the rules.

use identity::{Attributes, Policy, Principal, Verb};
use model::Scope;
use model::identity::{Effect, Role, RoleBinding, Rule, Subject, SubjectKind};
use proptest::prelude::*;

use crate::world::{binding, role, user};

const VERBS: [Verb; 4] = [Verb::Get, Verb::List, Verb::Create, Verb::Custom("exec")];
const RESOURCES: [&str; 3] = ["instances", "images", "hosts"];
const PARTS: [&str; 3] = ["", "exec", "status"];
const NAMES: [Option<&str>; 3] = [None, Some("x"), Some("y")];
const PROJECTS: [Option<&str>; 3] = [None, Some("p"), Some("q")];

/// Every request of the small world, project or not.
fn requests() -> impl Iterator<Item = Attributes<'static>> {
    let kinds = RESOURCES.iter().map(|r| model::kind_of(r).expect("kind").info);
    kinds.flat_map(|info| {
        VERBS.into_iter().flat_map(move |verb| {
            PARTS.into_iter().flat_map(move |part| {
                NAMES.into_iter().flat_map(move |name| {
                    PROJECTS.into_iter().map(move |p| Attributes::new(verb, &info, p, name).on(part))
                })
            })
        })
    })
}

fn subset(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(of.to_vec(), 1..=of.len().min(2))
        .prop_map(|words| words.into_iter().map(Into::into).collect())
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let effect = prop_oneof![3 => Just(Effect::Allow), 1 => Just(Effect::Deny)];
    let names = prop_oneof![2 => Just(vec![]), 1 => subset(&["x", "y"])];
    let groups = prop_oneof![
        2 => Just(vec![]),
        1 => subset(&["compute.corten.dev", "topology.corten.dev", "*"])
    ];
    let resources =
        subset(&["*", "instances", "images", "hosts", "instances/*", "*/status", "instances/exec"]);
    let rule = (effect, subset(&["*", "get", "list", "create", "exec"]), resources, groups, names);
    let rule = rule.prop_map(|(effect, verbs, resources, groups, names)| Rule {
        effect,
        verbs,
        resources,
        groups,
        names,
    });
    prop::collection::vec(rule, 1..4)
}

fn roles() -> impl Strategy<Value = Vec<Role>> {
    let make = |(i, rules): (usize, Vec<Rule>)| {
        let mut role = role(&format!("r{i}"), &[]);
        role.spec.rules = rules;
        role
    };
    prop::collection::vec((0_usize..3, rules()).prop_map(make), 1..4)
}

fn bindings() -> impl Strategy<Value = Vec<RoleBinding>> {
    let subject = prop::sample::select(vec!["ann", "bob", "@staff"]);
    let one = (0..4, 0..3, subject, subset(&["p", "q", "*"]));
    let make = |(i, r, subject, projects): (i32, i32, &str, Vec<String>)| {
        binding(&format!("b{i}"), &format!("r{r}"), subject, &projects.join(" "))
    };
    prop::collection::vec(one.prop_map(make), 0..6)
}

/// The rules as the documentation states them, without any index.
fn obviously_allowed(
    roles: &[Role],
    bindings: &[RoleBinding],
    caller: &Principal,
    request: &Attributes<'_>,
) -> bool {
    let cloud =
        model::kind_by_resource(request.group, request.resource).expect("kind").info.scope == Scope::Cloud;
    let project = if cloud { None } else { request.project };
    let is_caller = |s: &Subject| match s.kind {
        SubjectKind::User => s.name == caller.user,
        SubjectKind::Group => caller.groups.contains(&s.name),
    };
    let matching = |effect: Effect, b: &RoleBinding| {
        let role = roles.iter().find(|r| r.metadata.name == b.spec.role);
        role.is_some_and(|r| r.spec.rules.iter().any(|rule| rule.effect == effect && speaks(rule, request)))
    };
    let mine: Vec<&RoleBinding> = bindings.iter().filter(|b| b.spec.subjects.iter().any(is_caller)).collect();
    let holds = |b: &RoleBinding| {
        b.spec.projects.contains(&"*".into()) || project.is_some_and(|p| b.spec.projects.contains(&p.into()))
    };
    let denied =
        mine.iter().any(|b| (holds(b) || (!cloud && project.is_none())) && matching(Effect::Deny, b));
    let allowed = mine.iter().any(|b| holds(b) && matching(Effect::Allow, b));
    allowed && !denied
}

fn speaks(rule: &Rule, request: &Attributes<'_>) -> bool {
    let has = |list: &[String], word: &str| list.iter().any(|w| w == "*" || w == word);
    let part = request.subresource;
    let resource = |pattern: &String| match pattern.split_once('/') {
        None => pattern == "*" || (pattern == request.resource && part.is_empty()),
        Some((resource, sub)) => {
            (resource == "*" || resource == request.resource)
                && !part.is_empty()
                && (sub == part || (sub == "*" && part != "status"))
        }
    };
    let name = match (rule.effect, request.name) {
        _ if rule.names.is_empty() => true,
        (_, Some(name)) => has(&rule.names, name),
        (effect, None) => effect == Effect::Deny,
    };
    has(&rule.verbs, request.verb.as_str())
        && rule.resources.iter().any(resource)
        && (rule.groups.is_empty() || has(&rule.groups, request.group))
        && name
}

/// The last of several objects of one name is the one that is there.
fn last_of<T: Clone>(objects: &[T], name: impl Fn(&T) -> String) -> Vec<T> {
    let kept =
        objects.iter().enumerate().filter(|(i, o)| objects[i + 1..].iter().all(|p| name(p) != name(o)));
    kept.map(|(_, o)| o.clone()).collect()
}

fn build(roles: &[Role], bindings: &[RoleBinding]) -> Policy {
    crate::world::policy(roles, bindings)
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn decisions_are_those_of_the_obvious_reading(
        roles in roles(),
        bindings in bindings(),
        gone in prop::collection::vec(0..4, 0..3),
    ) {
        let mut policy = build(&roles, &bindings);
        for i in &gone {
            policy.remove_binding(&format!("b{i}"));
        }
        let roles = last_of(&roles, |r| r.metadata.name.clone());
        let mut bindings = last_of(&bindings, |b| b.metadata.name.clone());
        bindings.retain(|b| gone.iter().all(|i| b.metadata.name != format!("b{i}")));
        for caller in [user("ann"), user("ann staff"), user("eve staff")] {
            for request in requests() {
                let expected = obviously_allowed(&roles, &bindings, &caller, &request);
                prop_assert_eq!(policy.decide(&caller, &request).is_allowed(), expected, "{}", request);
            }
        }
    }

    #[test]
    fn whoever_is_granted_a_role_can_do_no_more_than_the_granter(
        roles in roles(),
        bindings in bindings(),
        new in rules(),
        projects in subset(&["p", "q", "*"]),
        base in subset(&["p", "q", "*"]),
    ) {
        let mut policy = build(&roles, &bindings);
        // Enough rights that many grants succeed, few enough that many do not.
        policy.upsert_role(&role("base", &["allow get,list,exec *"]));
        policy.upsert_binding(&binding("base", "base", "ann", &base.join(" ")));
        let ann = user("ann staff");
        let mut new_role = role("new", &[]);
        new_role.spec.rules = new;
        prop_assume!(policy.may_grant(&ann, &new_role, &projects).is_ok());
        policy.upsert_role(&new_role);
        policy.upsert_binding(&binding("new", "new", "child", &projects.join(" ")));
        for request in requests() {
            if policy.decide(&user("child"), &request).is_allowed() {
                prop_assert!(policy.decide(&ann, &request).is_allowed(), "{}", request);
            }
        }
    }
}
