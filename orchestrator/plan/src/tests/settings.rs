//! Where the servers' own settings live, secrets by reference, and where a server below a path is asked.

use crate::action::Action;
use crate::configuration::ConfigurationHome;
use crate::decision::{Decision, NodeGoal};
use crate::fixtures::{clustered, empty_account, epoch, ready, turn, unlicensed, until, wanting};
use crate::intent::{Intent, Phase, Record};
use crate::observed::{HealthCheck, MissingSecret};
use crate::tests::begin;
use crate::world::World;
use crate::{forecast, plan};

const SALT: &str = "FileSettings.PublicLinkSalt";

/// A record as a stack from before this field has it in its database.
const STORED: &str = r#"{"proven":{"image_id":"ami-0new","template_version":1,"version":"11.10.0","sha256":"ab","url":"https://m.example/m","settings":{}},"slot":"a","group":"demo-g1","image_id":"ami-0new","generation":1,"migrator":"i-1","migrations":1110,"retained":[]}"#;

#[test]
fn a_record_that_says_nothing_is_from_before_once_something_is_proven() {
    let read = |text: &str| {
        serde_json::from_str::<Record>(text)
            .unwrap()
            .configuration()
    };
    assert_eq!(read(STORED), ConfigurationHome::File);
    let fresh = r#"{"proven":null,"slot":"a","group":null,"image_id":null,"generation":0}"#;
    assert_eq!(read(fresh), ConfigurationHome::Database);
    assert_eq!(
        Record::default().configuration(),
        ConfigurationHome::Database
    );
    let (_, intent) = ready(&unlicensed());
    let text = serde_json::to_string(&intent.record).unwrap();
    assert!(text.contains(r#""configuration":"database""#), "{text}");
    assert_eq!(read(&text), ConfigurationHome::Database);
    // A goal that a node was given before.
    let goal = r#"{"goal":"prepare","version":"1","sha256":"a","url":"u","rollout":null}"#;
    let NodeGoal::Prepare { configuration, .. } = serde_json::from_str(goal).unwrap() else {
        panic!("no goal to prepare");
    };
    assert_eq!(configuration, ConfigurationHome::File);
}

/// A stack as it was made before, ready.
fn from_before() -> (World, Intent) {
    let (mut world, mut intent) = ready(&clustered(2));
    intent.record.configuration = None;
    intent.record.salts.clear();
    for node in world.observed.nodes.values_mut() {
        if let Some(NodeGoal::Serve { configuration, .. }) = &mut node.goal {
            *configuration = ConfigurationHome::File;
        }
    }
    world.observed.databases.as_mut().unwrap().configuration = None;
    (world, intent)
}

#[test]
fn a_stack_from_before_keeps_its_files_and_says_so() {
    let (mut world, mut intent) = from_before();
    // Its alarm for scale-in goes first.
    until(&mut world, &mut intent, 10, |phase| *phase == Phase::Ready);
    let decision = turn(&mut world, &mut intent);
    assert_eq!(decision.next, Phase::Ready, "{:#?}", decision.reasons);
    assert!(decision.actions.is_empty(), "{:#?}", decision.actions);
    let texts: Vec<&str> = reasons(&decision);
    let [text] = texts[..] else {
        panic!("{texts:?}");
    };
    let on_nodes = "settings made in the System Console lie in each node's config.json and are lost with the node: `orchestrator move`";
    assert!(text.starts_with(on_nodes), "{text}");
    assert_eq!(
        intent.record.configuration,
        Some(ConfigurationHome::File),
        "from now on it is written down"
    );
    let homes: Vec<_> = decision.nodes.values().map(home).collect();
    assert_eq!(homes, [ConfigurationHome::File; 2]);
    let shown = forecast(&intent, &world.observed, world.now).to_string();
    assert!(shown.contains(on_nodes), "{shown}");
}

fn reasons(decision: &Decision) -> Vec<&str> {
    let reasons = decision.reasons.iter();
    reasons.map(|reason| reason.text.as_str()).collect()
}

fn home(goal: &NodeGoal) -> ConfigurationHome {
    match goal {
        NodeGoal::Serve { configuration, .. } | NodeGoal::Prepare { configuration, .. } => {
            *configuration
        }
        NodeGoal::Move { .. } => ConfigurationHome::File,
        NodeGoal::Drain => panic!("nobody leaves"),
    }
}

#[test]
fn no_second_server_starts_before_sql_shows_the_first_row() {
    for nodes in [1, 3] {
        let spec = clustered(nodes);
        let mut world = World::new(&spec, &empty_account(), epoch());
        let mut intent = wanting(&spec);
        let mut waited = 0;
        for _ in 0..80 {
            // The row is written, and SQL does not show it.
            if let Some(seen) = &mut world.observed.databases {
                seen.configuration = None;
            }
            let decision = turn(&mut world, &mut intent);
            let serve = |goal: &&NodeGoal| matches!(goal, NodeGoal::Serve { .. });
            assert!(decision.nodes.values().filter(serve).count() <= 1);
            assert_ne!(decision.next, Phase::Ready);
            let gates = decision.reasons.iter();
            waited += gates
                .filter(|reason| reason.gate == "first_configuration")
                .count();
        }
        assert!(waited > 20, "it waited {waited} times for the row");
        assert_eq!(intent.record.proven, None);
        assert_eq!(intent.record.migrations, None);
        until(&mut world, &mut intent, 60, |phase| *phase == Phase::Ready);
        assert!(intent.record.migrations.is_some());
    }
}

#[test]
fn a_stack_whose_active_row_is_gone_is_not_ready() {
    let (world, intent) = ready(&unlicensed());
    let mut observed = world.observed.clone();
    let seen = observed.databases.as_mut().unwrap();
    seen.configuration = None;
    let decision = plan(&intent, &observed, world.now);
    assert_eq!(decision.next, Phase::Converging);
    let told = reasons(&decision).join("\n");
    assert!(
        told.contains("no active row in table `configurations`")
            && told.contains("SET active = true"),
        "{told}"
    );
    // Where Mattermost's own role could not look, nothing is concluded.
    observed.databases.as_mut().unwrap().migrations_applied = None;
    let decision = plan(&intent, &observed, world.now);
    let told = reasons(&decision).join("\n");
    assert!(!told.contains("no active row"), "{told}");
}

#[test]
fn a_salt_that_changes_is_told_once_with_both_digests() {
    let (mut world, mut intent) = ready(&unlicensed());
    let before = intent.record.salts[SALT].clone();
    let now = "c3".repeat(32);
    let seen = world.observed.databases.as_mut().unwrap();
    let row = seen.configuration.as_mut().unwrap();
    row.salts.insert(SALT.to_owned(), now.clone());
    let decision = turn(&mut world, &mut intent);
    let told = reasons(&decision);
    assert_eq!(told.len(), 1, "{told:?}");
    for part in [SALT, &before[..12], &now[..12]] {
        assert!(told[0].contains(part), "{part}: {told:?}");
    }
    assert_eq!(decision.next, Phase::Ready);
    assert_eq!(intent.record.salts[SALT], now);
    let decision = turn(&mut world, &mut intent);
    assert!(decision.reasons.is_empty(), "{:?}", decision.reasons);
    // A look that shows no row forgets nothing.
    world.observed.databases.as_mut().unwrap().configuration = None;
    turn(&mut world, &mut intent);
    assert_eq!(intent.record.salts[SALT], now);
}

#[test]
fn each_node_counts_two_connections_more_for_its_settings() {
    let needed = |home| {
        let (world, mut intent) = ready(&clustered(2));
        begin(&mut intent, &world, "11.11.0");
        let rollout = intent.rollout.clone().unwrap();
        intent.record.configuration = Some(home);
        let view = crate::view::View::new(&intent, &world.observed, world.now);
        let budget = crate::rollout::connection_budget(&view, &rollout);
        budget.unwrap().expect("the database was looked into").0
    };
    let file = needed(ConfigurationHome::File);
    let database = needed(ConfigurationHome::Database);
    assert_eq!(database, 2 * 2 * (100 + 2 + 2) + 15);
    assert_eq!(file, database - 2 * 2 * 2, "two nodes of each colour");
}

fn missing(kept: bool) -> MissingSecret {
    MissingSecret {
        why: "secret `chat/smtp` does not exist".to_owned(),
        kept,
    }
}

#[test]
fn a_secret_without_a_value_is_named_and_holds_a_rollout_back() {
    let setting = "MM_EMAILSETTINGS_SMTPPASSWORD".to_owned();
    let (mut world, mut intent) = ready(&clustered(1));
    let named = &mut world.observed.missing_secrets;
    named.insert(setting.clone(), missing(false));
    let decision = turn(&mut world, &mut intent);
    assert_eq!(decision.next, Phase::Converging);
    assert_eq!(decision.reasons[0].gate, "secret_missing");
    let text = &decision.reasons[0].text;
    assert!(
        text.contains(&setting) && text.contains("`chat/smtp`"),
        "{text}"
    );

    let mut asked = intent.clone();
    begin(&mut asked, &world, "11.11.0");
    let mut held = world.clone();
    for _ in 0..5 {
        turn(&mut held, &mut asked);
    }
    assert_eq!(asked.rollout.unwrap().phase, Phase::Preflight);

    // Rotated to something unusable: nodes keep what they have, and people are told.
    let named = &mut world.observed.missing_secrets;
    named.insert(setting, missing(true));
    let decision = turn(&mut world, &mut intent);
    assert_eq!(decision.next, Phase::Ready);
    assert_eq!(decision.reasons[0].gate, "notice");
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 60, |phase| {
        *phase == Phase::Imaging
    });
}

#[test]
fn a_role_that_cannot_log_in_gets_the_password_that_secrets_manager_holds() {
    let (mut world, mut intent) = ready(&clustered(1));
    let seen = world.observed.databases.as_mut().unwrap();
    seen.roles.remove("mattermost");
    let decision = turn(&mut world, &mut intent);
    let keys: Vec<String> = decision.actions.iter().map(Action::key).collect();
    assert_eq!(keys, ["ensure_databases"]);
    assert_eq!(turn(&mut world, &mut intent).actions, []);
}

/// Health checks that target groups are given now, by name.
fn checks(decision: &Decision) -> Vec<(String, String, String)> {
    let actions = decision.actions.iter();
    let checks = actions.filter_map(|action| match action {
        Action::EnsureTargetGroup { name, health, .. } => {
            Some((name.clone(), health.path.clone(), health.expected.clone()))
        }
        _ => None,
    });
    checks.collect()
}

fn both(path: &str, expected: &str) -> Vec<(String, String, String)> {
    let check = |name: &str| (name.to_owned(), path.to_owned(), expected.to_owned());
    vec![check("demo-a"), check("demo-b")]
}

#[test]
fn a_health_check_that_somebody_changed_is_mended() {
    let changes: [fn(&mut HealthCheck); 9] = [
        |health| health.enabled = false,
        |health| health.protocol = "HTTPS".to_owned(),
        |health| health.port = "80".to_owned(),
        |health| health.path = "/".to_owned(),
        |health| health.expected = "200-499".to_owned(),
        |health| health.interval_seconds = 300,
        |health| health.timeout_seconds = 120,
        |health| health.healthy = 10,
        |health| health.unhealthy = 10,
    ];
    let (world, intent) = ready(&unlicensed());
    let wanted = world.observed.target_groups["demo-a"].health.clone();
    assert_eq!(wanted.path, "/api/v4/system/ping");
    for change in changes {
        let (mut world, mut intent) = (world.clone(), intent.clone());
        let group = world.observed.target_groups.get_mut("demo-a").unwrap();
        change(&mut group.health);
        let changed = group.health.clone();
        assert_ne!(changed, wanted);
        let decision = turn(&mut world, &mut intent);
        assert_eq!(decision.actions.len(), 1, "{changed:?}");
        assert_eq!(world.observed.target_groups["demo-a"].health, wanted);
        assert_eq!(turn(&mut world, &mut intent).actions, []);
    }
}

#[test]
fn a_new_path_takes_no_node_out_of_the_load_balancer() {
    let below = "https://chat.example.com/mattermost";
    let (ping, deep) = ("/api/v4/system/ping", "/mattermost/api/v4/system/ping");
    let mut spec = clustered(2);
    spec.load_balancer.site_url = Some(below.to_owned());
    let (world, _) = ready(&spec);
    assert_eq!(world.observed.target_groups["demo-b"].health.path, deep);

    for (from, to, end) in [
        (None, Some(below), deep),
        (Some(below), None, ping),
        (
            Some(below),
            Some("https://other.example/chat"),
            "/chat/api/v4/system/ping",
        ),
    ] {
        let mut spec = clustered(2);
        spec.load_balancer.site_url = from.map(str::to_owned);
        let (mut world, mut intent) = ready(&spec);
        intent.spec.load_balancer.site_url = to.map(str::to_owned);
        // The migrator last: it is told another goal when it is seen to restart.
        let mut ids: Vec<String> = world.observed.nodes.keys().cloned().collect();
        ids.sort_by_key(|id| intent.record.migrator.as_ref() == Some(id));
        let stale = |world: &mut World, id: &str, stale: bool| {
            world.observed.nodes.get_mut(id).unwrap().stale = stale;
        };
        for id in &ids {
            stale(&mut world, id, true);
        }
        // Both colours' groups, at once, and no node is refused before or after it was told.
        let decision = plan(&intent, &world.observed, world.now);
        assert_eq!(checks(&decision), both(ping, "200,302"), "{to:?}");
        turn(&mut world, &mut intent);
        stale(&mut world, &ids[0], false);
        let node = world.observed.nodes.get_mut(&ids[0]).unwrap();
        node.phase = "starting".to_owned();
        assert_eq!(checks(&turn(&mut world, &mut intent)), [], "{to:?}");
        stale(&mut world, &ids[1], false);
        until(&mut world, &mut intent, 10, |phase| *phase == Phase::Ready);
        for group in world.observed.target_groups.values() {
            assert_eq!((&*group.health.path, &*group.health.expected), (end, "200"));
        }
        let members = &world.observed.groups["demo-g1"].members;
        assert!(
            ids.iter().all(|id| members.contains_key(id)),
            "nobody was replaced: {members:?}"
        );
    }
}
