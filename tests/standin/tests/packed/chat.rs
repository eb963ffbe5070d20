//! Users, channels, posts and the WebSocket of one node; two unlicensed ones on one database.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Node, PASSWORD, Socket, dsn, furnished, login, sign_up};

const OPEN: (&str, &str) = ("MM_TEAMSETTINGS_ENABLEOPENSERVER", "true");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_up_is_closed_unless_opened_but_for_the_first() {
    let dsn = dsn().await;
    let closed = Node::good("11.10.0", &dsn, &[]).await;
    let (admin, _) = furnished(&closed).await;
    assert_eq!(
        sign_up(&closed, "second").await.status(),
        StatusCode::FORBIDDEN
    );
    let body = json!({ "email": "third@example.com", "username": "third", "password": PASSWORD });
    admin.created(&closed, "/api/v4/users", &body).await;
    let open = Node::good("11.10.0", &dsn, &[OPEN]).await;
    let second = sign_up(&open, "second").await;
    assert_eq!(second.status(), StatusCode::CREATED);
    let second: Value = second.json().await.unwrap();
    assert_eq!(second["roles"], "system_user");
    let again = sign_up(&open, "second").await;
    assert_eq!(again.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_holds_on_every_node_and_none_is_401() {
    let dsn = dsn().await;
    let one = Node::good("11.9.0", &dsn, &[]).await;
    let two = Node::good("11.10.0", &dsn, &[]).await;
    let (admin, _) = furnished(&one).await;
    assert_eq!(
        admin.json(&two, "/api/v4/users/me").await["username"],
        "admin"
    );
    let none = one.get("/api/v4/users/me").await;
    assert_eq!(none.status(), StatusCode::UNAUTHORIZED);
    let none: Value = none.json().await.unwrap();
    assert_eq!(none["id"], "api.context.session_expired.app_error");
    assert_eq!(none["status_code"], 401);
    assert!(none["message"].is_string());
    admin.post(&one, "/api/v4/users/logout", &json!({})).await;
    assert_eq!(
        admin.get(&one, "/api/v4/users/me").await.status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_reaches_the_socket_and_its_retry_does_not() {
    let node = Node::good("11.10.0", &dsn().await, &[OPEN]).await;
    let (admin, channel) = furnished(&node).await;
    sign_up(&node, "reader").await;
    let reader = login(&node, "reader").await;
    let denied = json!({ "channel_id": channel, "message": "not yet a member" });
    assert_eq!(
        reader.post(&node, "/api/v4/posts", &denied).await.status(),
        StatusCode::FORBIDDEN
    );
    let team = admin
        .json(&node, &format!("/api/v4/channels/{channel}"))
        .await["team_id"]
        .clone();
    let team = team.as_str().unwrap();
    for path in [
        format!("/api/v4/teams/{team}/members"),
        format!("/api/v4/channels/{channel}/members"),
    ] {
        admin
            .created(&node, &path, &json!({ "user_id": reader.id }))
            .await;
    }

    let mut socket = reader.socket(&node).await;
    let first = admin.message(&node, &channel, "one", "p1").await;
    let retry = admin.message(&node, &channel, "one", "p1").await;
    assert_eq!(first["id"], retry["id"], "the same node knows the retry");
    assert_eq!(first["pending_post_id"], "p1");
    admin.message(&node, &channel, "two", "p2").await;
    let one = socket.next().await.unwrap();
    let two = socket.next().await.unwrap();
    assert_eq!((&one["event"], &one["seq"]), (&json!("posted"), &json!(1)));
    assert_eq!((&two["event"], &two["seq"]), (&json!("posted"), &json!(2)));
    assert_eq!(one["broadcast"]["channel_id"], channel.as_str());
    assert!(two["data"]["post"].as_str().unwrap().contains("\"two\""));

    let at = first["create_at"].as_i64().unwrap();
    let since = reader
        .json(
            &node,
            &format!("/api/v4/channels/{channel}/posts?since={at}"),
        )
        .await;
    let newest = since["order"][0].as_str().unwrap();
    assert_eq!(since["posts"][newest]["message"], "two");
    let all = reader
        .json(&node, &format!("/api/v4/channels/{channel}/posts?since=0"))
        .await;
    assert_eq!(all["order"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_greets_after_either_kind_of_authentication() {
    let node = Node::good("11.10.0", &dsn().await, &[]).await;
    let (admin, _) = furnished(&node).await;
    let mut socket = Socket::open(&node, Some(&admin.token)).await;
    let hello = socket.event("hello").await;
    assert_eq!(hello["seq"], 0);
    assert_eq!(hello["data"]["connection_id"].as_str().unwrap().len(), 26);
    assert!(
        hello["data"]["server_version"]
            .as_str()
            .unwrap()
            .starts_with("11.10.0.")
    );

    let mut socket = Socket::open(&node, None).await;
    let challenge = |token: &str| {
        let body =
            json!({ "seq": 1, "action": "authentication_challenge", "data": { "token": token } });
        Message::text(body.to_string())
    };
    send(&mut socket, challenge(&admin.token)).await;
    assert_eq!(
        socket.next().await.unwrap(),
        json!({ "status": "OK", "seq_reply": 1 })
    );
    assert_eq!(socket.event("hello").await["seq"], 0);
    let ping = json!({ "seq": 2, "action": "ping" });
    send(&mut socket, Message::text(ping.to_string())).await;
    assert_eq!(socket.next().await.unwrap()["data"]["text"], "pong");

    let mut socket = Socket::open(&node, None).await;
    send(&mut socket, challenge("wrong")).await;
    assert!(socket.ends_bare().await);
}

async fn send(socket: &mut Socket, message: Message) {
    use futures_util::SinkExt as _;
    socket.0.send(message).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlicensed_nodes_share_nothing_but_the_database() {
    let dsn = dsn().await;
    let clustered = ("MM_CLUSTERSETTINGS_ENABLE", "true");
    let one = Node::good("11.10.0", &dsn, &[clustered]).await;
    let two = Node::good("11.10.0", &dsn, &[clustered]).await;
    let (admin, channel) = furnished(&one).await;
    let mut there = admin.socket(&two).await;
    let first = admin.message(&one, &channel, "unseen", "p1").await;
    let second = admin.message(&two, &channel, "seen", "p2").await;
    assert_eq!(
        there.posted().await,
        "seen",
        "the other node's post never arrives"
    );
    let since = second["create_at"].as_i64().unwrap() - 60_000;
    let found = admin
        .json(
            &two,
            &format!("/api/v4/channels/{channel}/posts?since={since}"),
        )
        .await;
    assert_eq!(found["order"].as_array().unwrap().len(), 2, "but is found");
    let retry = admin.message(&two, &channel, "unseen", "p1").await;
    assert_ne!(
        retry["id"], first["id"],
        "a retry elsewhere makes a second message"
    );
}
