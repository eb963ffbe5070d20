//! Formulas, ranges and the resolution of a group, as tables.

use super::*;

const DESCRIPTION: &str = "max_connections\tpostmaster\tConnections\tINTEGER\t0\t1\t262143\tSets the maximum number of concurrent connections.\t
log_statement\tsuperuser\tReporting\tENUM\tnone\t\t\tSets the type of statements logged.\t
log_min_duration_statement\tsuperuser\tReporting\tINTEGER\t0\t-1\t2147483647\tSets the minimum.\t
random_page_cost\tuser\tQuery\tREAL\t0\t0\t1.79769e+308\tSets the planner's estimate.\t
listen_addresses\tpostmaster\tConnections\tSTRING\tlocalhost\t\t\tSets the host name.\t
shared_buffers\tpostmaster\tResource\tINTEGER\t0\t16\t1073741823\tSets the number.\t
autovacuum\tsighup\tAutovacuum\tBOOLEAN\tFALSE\t\t\tStarts the autovacuum subprocess.\t
";

fn named<'a>(all: &'a [Specification], name: &str) -> &'a Specification {
    all.iter().find(|each| each.name == name).unwrap()
}

#[test]
fn formulas_are_evaluated_as_rds_writes_them() {
    let gib = 1_u64 << 30;
    for (formula, memory, expected) in [
        ("100", gib, Some(100.0)),
        ("{DBInstanceClassMemory/9531392}", gib, Some(112.0)),
        (
            "LEAST({DBInstanceClassMemory/9531392},5000)",
            gib,
            Some(112.0),
        ),
        (
            "LEAST({DBInstanceClassMemory/9531392},5000)",
            64 * gib,
            Some(5000.0),
        ),
        (
            "{SUM(DBInstanceClassMemory/12038,-50003)}",
            gib,
            Some(39193.0),
        ),
        ("GREATEST(1,{DBInstanceClassMemory/0})", gib, None),
        ("many", gib, None),
        ("inf", gib, None),
    ] {
        assert_eq!(evaluate(formula, memory), expected, "{formula}");
    }
}

#[test]
fn values_outside_the_servers_range_are_refused() {
    let all = describe(DESCRIPTION, 15);
    for (name, value, good) in [
        ("max_connections", "200", true),
        ("max_connections", "0", false),
        ("max_connections", "1.5", false),
        (
            "max_connections",
            "LEAST({DBInstanceClassMemory/9531392},5000)",
            true,
        ),
        ("log_statement", "ddl", true),
        ("log_statement", "everything", false),
        ("log_min_duration_statement", "-1", true),
        ("log_min_duration_statement", "-2", false),
        ("random_page_cost", "1.1", true),
        ("autovacuum", "0", true),
        ("autovacuum", "maybe", false),
        ("rds.force_ssl", "2", false),
        ("log_statement", "ddl\nlisten_addresses='*'", false),
    ] {
        assert_eq!(
            named(&all, name).check(value).is_ok(),
            good,
            "{name}={value}"
        );
    }
}

#[test]
fn static_reserved_and_own_parameters_are_told_apart() {
    let all = describe(DESCRIPTION, 15);
    assert!(named(&all, "max_connections").is_static);
    assert!(!named(&all, "log_statement").is_static);
    assert!(!named(&all, "listen_addresses").modifiable);
    assert!(!named(&all, "rds.force_ssl").is_static);
}

#[test]
fn a_group_resolves_to_settings_without_what_the_lab_keeps() {
    let all = describe(DESCRIPTION, 15);
    let values = BTreeMap::from([
        ("log_statement".to_owned(), "ddl".to_owned()),
        ("shared_buffers".to_owned(), "999999".to_owned()),
        ("rds.force_ssl".to_owned(), "0".to_owned()),
    ]);
    let effective = resolve(&all, &values, 1 << 30);
    assert!(!effective.force_ssl);
    assert_eq!(effective.settings["max_connections"], "112");
    assert_eq!(effective.settings["log_statement"], "ddl");
    assert!(!effective.settings.contains_key("shared_buffers"));
    assert!(
        resolve(&all, &BTreeMap::new(), 1 << 30).force_ssl,
        "on from PostgreSQL 15"
    );
}
