//! Everything goes again.

use cloud::Outcome;
use plan::Action;
use plan::action::DbChange;
use plan::observed::DbStatus;

use crate::support::World;

pub async fn delete(world: &World) {
    let seen = world.look().await;
    let name = |name: &str| name.to_owned();
    world
        .twice(Action::DeleteAlarm {
            name: name("demo-g1-cpu-high"),
        })
        .await;
    world
        .once(&Action::DeleteGroup {
            group: name("demo-g1"),
            force: true,
        })
        .await;
    world
        .until("the group is gone with its instances", |seen| {
            seen.groups.is_empty()
                && seen
                    .instances
                    .values()
                    .all(|instance| instance.state == "terminated")
        })
        .await;
    assert_eq!(
        world
            .once(&Action::DeleteGroup {
                group: name("demo-g1"),
                force: true
            })
            .await,
        Outcome::Unchanged
    );
    world
        .twice(Action::DeleteTemplate {
            name: name("demo-node"),
        })
        .await;
    world
        .twice(Action::DeleteListener {
            arn: seen.listeners[&80].arn.clone(),
        })
        .await;
    world
        .twice(Action::DeleteLoadBalancer {
            arn: seen
                .load_balancer
                .as_ref()
                .expect("a load balancer")
                .arn
                .clone(),
        })
        .await;
    for group in seen.target_groups.values() {
        world
            .twice(Action::DeleteTargetGroup {
                arn: group.arn.clone(),
            })
            .await;
    }
    end_of_database(world).await;
    for part in ["database", "fleet", "load-balancer"] {
        let delete = Action::DeleteSecurityGroup {
            part: part.to_owned(),
            id: seen.security_groups[part].id.clone(),
        };
        world
            .until("nothing uses the security group", |_| true)
            .await;
        world.twice(delete).await;
    }
    let seen = world.look().await;
    assert!(seen.security_groups.is_empty());
    assert!(seen.target_groups.is_empty() && seen.listeners.is_empty());
    assert_eq!((seen.load_balancer, seen.template), (None, None));
    assert_eq!(
        (seen.db_subnet_group, seen.db_parameter_group),
        (None, None)
    );
    assert!(seen.alarms.is_empty() && seen.policies.is_empty());
    assert!(seen.secrets.values().all(|secret| secret.deleting));
}

async fn end_of_database(world: &World) {
    let delete = |id: &str, snapshot: Option<&str>| Action::DeleteDbInstance {
        id: id.to_owned(),
        final_snapshot: snapshot.map(str::to_owned),
    };
    world.twice(delete("demo-db-replica-1", None)).await;
    world
        .until("the replica is gone", |seen| {
            !seen.db_instances.contains_key("demo-db-replica-1")
        })
        .await;
    // Never without a snapshot; not while it is protected.
    for protected in [None, Some("demo-final-g1")] {
        assert!(world.attempt(&delete("demo-db", protected)).await.is_err());
    }
    world
        .twice(Action::SetDbInstance {
            id: "demo-db".to_owned(),
            change: DbChange {
                deletion_protection: Some(false),
                ..DbChange::default()
            },
        })
        .await;
    world
        .until("the primary is available", |seen| {
            seen.db_instances["demo-db"].status == DbStatus::Available
        })
        .await;
    world.twice(delete("demo-db", Some("demo-final-g1"))).await;
    let seen = world
        .until("the primary is gone", |seen| seen.db_instances.is_empty())
        .await;
    assert_eq!(seen.db_snapshots["demo-final-g1"].status, "available");
    for id in ["demo-before-g2", "demo-final-g1"] {
        world
            .twice(Action::DeleteDbSnapshot { id: id.to_owned() })
            .await;
    }
    world
        .twice(Action::DeleteDbSubnetGroup {
            name: "demo-db".to_owned(),
        })
        .await;
    let group = seen.db_parameter_group.expect("a parameter group").name;
    world
        .twice(Action::DeleteDbParameterGroup { name: group })
        .await;
    world
        .twice(Action::DeleteSecret {
            name: "demo/database/master".to_owned(),
        })
        .await;
}
