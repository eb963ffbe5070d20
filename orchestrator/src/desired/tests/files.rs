//! What a node is told of the place of users' files, and whose keys go with it.

use super::*;

#[test]
fn a_node_is_told_where_files_live_and_gets_keys_only_where_they_sign() {
    let place = plan::BucketHome {
        bucket: "theirs".to_owned(),
        region: "us-west-2".to_owned(),
        prefix: "chat/".to_owned(),
        endpoint: Some("https://minio.example:9000".to_owned()),
        owner: None,
        own_keys: true,
    };
    let at = |place: &plan::BucketHome| {
        let place = plan::FilesHome::S3(place.clone());
        serve(|serve| serve.files = Some(place))
    };
    let keyed = with(|facts| {
        facts.secret_settings = [ACCESS_KEY, SECRET_KEY]
            .map(|key| (key.to_owned(), "hidden-key".into()))
            .into();
    });
    let told = |goal: &NodeGoal| message(&spec(), NOBODY, Some(&keyed), goal, 1).unwrap();
    let own = told(&at(&place));
    assert_eq!(
        own.file_store,
        Some(v1::FileStore {
            bucket: "theirs".to_owned(),
            region: "us-west-2".to_owned(),
            prefix: "chat/".to_owned(),
            endpoint: "https://minio.example:9000".to_owned(),
            owner: String::new(),
            own_keys: true,
        })
    );
    assert!(!format!("{own:?}").contains("hidden-key"));
    let role = plan::BucketHome {
        owner: Some("123456789012".to_owned()),
        endpoint: None,
        own_keys: false,
        ..place.clone()
    };
    let store = told(&at(&role)).file_store.unwrap();
    assert_eq!(
        (&*store.owner, &*store.endpoint, store.own_keys),
        ("123456789012", "", false)
    );
    let keys = |goal: &NodeGoal| secrets(&spec(), &keyed, goal).contains_key(SECRET_KEY);
    assert!(keys(&at(&place)) && !keys(&at(&role)));
    // Without its keys nobody is told of a store that needs them.
    let without = message(&spec(), NOBODY, Some(&facts()), &at(&place), 1);
    assert_eq!(without, None);
    let local = serve(|serve| serve.files = Some(plan::FilesHome::Local));
    assert_eq!(told(&local).file_store, None);
    // Whatever differs restarts the server.
    let mut others = vec![place.clone(), role.clone()];
    for change in [
        |place: &mut plan::BucketHome| place.bucket.push('2'),
        |place: &mut plan::BucketHome| place.region.push('2'),
        |place: &mut plan::BucketHome| place.prefix = "other/".to_owned(),
        |place: &mut plan::BucketHome| place.endpoint = None,
        |place: &mut plan::BucketHome| place.owner = Some("1".to_owned()),
    ] {
        let mut other = place.clone();
        change(&mut other);
        others.push(other);
    }
    let digests: std::collections::BTreeSet<_> = others
        .iter()
        .map(|place| digest(NOBODY, Some(&keyed), &at(place)))
        .collect();
    assert_eq!(digests.len(), others.len());
}
