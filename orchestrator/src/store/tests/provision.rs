//! Databases and roles, made by a master that is no superuser, as RDS's is none.

use plan::action::DatabaseWanted;
use secrecy::SecretString;

use super::super::provision::{ensure_database, observe, same_cluster};
use super::*;

const MASTER: &str = "it's the \"master\"";
/// As nasty as a password gets.
const PASSWORD: &str = r#"a'b"c\d $1 %s ü;--"#;

/// A server that asks for passwords, and its master.
async fn guarded() -> (Server, Access) {
    let server = Server::start().await;
    let admin = server.postgres.connect("postgres").await.unwrap();
    let file: String = admin.query_one("SHOW hba_file", &[]).await.unwrap().get(0);
    let statements = [
        format!(
            "CREATE ROLE master LOGIN CREATEDB CREATEROLE PASSWORD '{}'",
            MASTER.replace('\'', "''")
        ),
        "CREATE ROLE stranger LOGIN PASSWORD 'stranger'".to_owned(),
        format!(
            "COPY (VALUES ('host all postgres all trust'), ('hostssl all all all scram-sha-256')) TO '{file}'"
        ),
        "SELECT pg_reload_conf()".to_owned(),
    ];
    for statement in statements {
        admin.batch_execute(&statement).await.unwrap();
    }
    // The new rules hold once a wrong password is refused.
    let wrong = server.access("postgres", "master", "wrong");
    while connect::open(&wrong, None).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let master = server.access("postgres", "master", MASTER);
    (server, master)
}

fn wanted(name: &str, owner: &str) -> DatabaseWanted {
    DatabaseWanted {
        name: name.to_owned(),
        owner: owner.to_owned(),
        secret: "unused".to_owned(),
    }
}

#[tokio::test]
async fn run_twice_a_database_belongs_to_its_role_alone() {
    let (server, master) = guarded().await;
    let password = SecretString::from(PASSWORD);
    for (name, owner) in [("mattermost", "mattermost"), ("odd \"name", "odd 'owner")] {
        for _ in 0..2 {
            ensure_database(&master, &wanted(name, owner), &password)
                .await
                .unwrap();
        }
        let own = server.access(name, owner, PASSWORD);
        let client = connect::open(&own, None).await.unwrap();
        let row = client
            .query_one(
                "SELECT pg_get_userbyid(datdba), (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'),
                        (SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user)
                 FROM pg_database WHERE datname = current_database()",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(row.get::<_, &str>(0), owner);
        assert_eq!(row.get::<_, &str>(1), owner);
        assert!(!row.get::<_, bool>(2), "the role may more than it needs");
        client
            .batch_execute("CREATE TABLE posts (id int); DROP TABLE posts")
            .await
            .unwrap();
        let stranger = server.access(name, "stranger", "stranger");
        connect::open(&stranger, None).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_new_password_takes_the_place_of_the_old_and_no_error_shows_it() {
    let (server, master) = guarded().await;
    let database = wanted("mattermost", "mattermost");
    for password in [PASSWORD, "second"] {
        ensure_database(&master, &database, &password.to_owned().into())
            .await
            .unwrap();
    }
    let open = |password: &str| {
        let access = server.access("mattermost", "mattermost", password);
        async move { connect::open(&access, None).await }
    };
    open("second").await.unwrap();
    let error = open(PASSWORD).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
    let text = format!("{} {error:?}", crate::chain(&error));
    assert!(!text.contains(PASSWORD), "{text}");
    assert!(!format!("{master:?}").contains(MASTER));
}

#[tokio::test]
async fn observing_sees_owners_roles_schema_and_migrations() {
    let (server, master) = guarded().await;
    let password = SecretString::from(PASSWORD);
    let roles = |password: &str| {
        ["mattermost", "orchestrator"]
            .map(|name| (name.to_owned(), name.to_owned(), password.to_owned().into()))
            .to_vec()
    };
    let before = observe(&master, &roles(PASSWORD)).await.unwrap();
    assert!(before.roles.is_empty() && before.schema_owner.is_none());
    assert_eq!(before.owners.get("mattermost"), None);
    assert_eq!(
        (before.max_connections, before.migrations_applied),
        (200, None),
        "nobody could look"
    );
    assert!(before.server_version >= 140_000 && before.connections >= 1);

    for name in ["mattermost", "orchestrator"] {
        ensure_database(&master, &wanted(name, name), &password)
            .await
            .unwrap();
    }
    let own = server.access("mattermost", "mattermost", PASSWORD);
    let client = connect::open(&own, None).await.unwrap();
    client
        .batch_execute(
            "CREATE TABLE db_migrations (version bigint PRIMARY KEY, name text);
             INSERT INTO db_migrations SELECT n, 'x' FROM generate_series(1, 147) n",
        )
        .await
        .unwrap();
    let seen = observe(&master, &roles(PASSWORD)).await.unwrap();
    for name in ["mattermost", "orchestrator"] {
        assert_eq!(seen.owners[name], name);
        assert!(seen.roles.contains(name));
    }
    assert_eq!(seen.schema_owner.as_deref(), Some("mattermost"));
    assert_eq!(seen.migrations_applied, Some(147));

    // A role whose password is not the secret's is none that we have.
    let seen = observe(&master, &roles("other")).await.unwrap();
    assert!(seen.roles.is_empty());
    assert_eq!(seen.migrations_applied, None);
    assert_eq!(seen.owners["mattermost"], "mattermost");
}

/// As a rotation in Secrets Manager goes: the role has the new password only once it was given to it.
#[tokio::test]
async fn a_rotated_password_opens_the_database_only_after_the_role_has_it() {
    let (_server, master) = guarded().await;
    let database = wanted("mattermost", "mattermost");
    let first = SecretString::from(PASSWORD);
    ensure_database(&master, &database, &first).await.unwrap();
    let with = |password: &str| {
        let role = ("mattermost".to_owned(), "mattermost".to_owned());
        [(role.0, role.1, SecretString::from(password))]
    };
    let rotated = with("the rotated one");
    let seen = observe(&master, &rotated).await.unwrap();
    assert!(!seen.roles.contains("mattermost"), "told too early");
    for _ in 0..2 {
        ensure_database(&master, &database, &rotated[0].2)
            .await
            .unwrap();
    }
    let seen = observe(&master, &rotated).await.unwrap();
    assert!(seen.roles.contains("mattermost"));
    let seen = observe(&master, &with(PASSWORD)).await.unwrap();
    assert!(!seen.roles.contains("mattermost"), "the former one is void");
}

#[tokio::test]
async fn members_of_one_cluster_are_found_while_they_are_fresh() {
    let server = shared().await;
    let access = server.database().await;
    let client = server.beside(&access).await;
    client
        .batch_execute(
            "CREATE TABLE clusterdiscovery (clustername text, hostname text, lastpingat bigint);
             INSERT INTO clusterdiscovery
             SELECT cluster, host, (extract(epoch FROM now()) * 1000)::bigint - age * 1000
             FROM (VALUES ('chat', 'a', 5), ('chat', 'b', 50), ('green', 'c', 5), ('chat', 'd', 3600)) AS v(cluster, host, age)",
        )
        .await
        .unwrap();
    for (left, right, together) in [
        ("a", "b", true),
        ("b", "a", true),
        ("a", "c", false),
        ("a", "d", false),
        ("a", "nobody", false),
    ] {
        let seen = same_cluster(&access, left, right).await.unwrap();
        assert_eq!(seen, together, "{left} and {right}");
    }
}
