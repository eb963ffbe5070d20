//! The data path: failures as an ALB shows them, WebSockets, draining, the keep-alive race.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_bodies_pass_with_the_forwarding_headers() {
    let world = World::start().await;
    let backend = Backend::start("a").await;
    let serving = world.serving(&[&backend]).await;
    let mut client = Client::connect(serving.address).await;

    let seen = client
        .get_with(
            "/headers",
            &[("x-forwarded-for", "10.9.8.7"), ("keep-alive", "x")],
        )
        .await
        .text;
    for expected in [
        "x-forwarded-for: 10.9.8.7, 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-port: 18080",
        "host: chat.example.com",
        "x-amzn-trace-id: Root=1-",
    ] {
        assert!(seen.contains(expected), "{expected} not in {seen}");
    }
    assert!(!seen.contains("keep-alive:"), "{seen}");

    let body = "x".repeat(1 << 20);
    let request = Request::post("/echo")
        .header("host", "chat.example.com")
        .body(Full::new(Bytes::from(body.clone())))
        .unwrap();
    assert_eq!(client.send(request).await.text, body);

    let request = Request::head("/")
        .header("host", "chat.example.com")
        .body(Full::default())
        .unwrap();
    let head = client.send(request).await;
    assert_eq!(
        head.headers["content-length"], "1",
        "of the body that GET has"
    );
    assert_eq!(client.get("/").await.text, "a", "the connection is in step");
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_have_the_status_that_an_alb_gives_them() {
    let world = World::start().await;
    let (balancer, address) = world.balancer("chat").await;
    let group = world.group("blue").await;
    world.listener(&balancer, &[(&group, 1)]).await;
    world
        .set_balancer(&balancer, "idle_timeout.timeout_seconds", "1")
        .await;
    assert_eq!(get(address, "/").await.status, 503, "no registered target");

    let backend = Backend::start("a").await;
    world.register(&group, &backend).await;
    world.until(&group, backend.address, "healthy", "").await;
    assert_eq!(get(address, "/").await.status, 200);
    assert_eq!(
        get(address, "/never").await.status,
        504,
        "no answer in time"
    );

    // A target that takes the request and hangs up, then one that is not there at all.
    let rude = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let rude_address = rude.local_addr().unwrap();
    let hang_up = tokio::spawn(async move {
        loop {
            let (mut stream, _) = rude.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
        }
    });
    world.deregister(&group, &backend).await;
    let fields = [
        ("TargetGroupArn", group.as_str()),
        ("Targets.member.1.Id", "127.0.0.1"),
        ("Targets.member.1.Port", &rude_address.port().to_string()),
    ];
    world.call("RegisterTargets", &fields).await;
    world
        .until(
            &group,
            rude_address,
            "unhealthy",
            "Target.FailedHealthChecks",
        )
        .await;
    assert_eq!(
        get(address, "/").await.status,
        502,
        "fails open to it, and it hangs up"
    );
    hang_up.abort();
    let _ = hang_up.await;
    assert_eq!(get(address, "/").await.status, 502, "refused");
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_closes_idle_connections_costs_no_client_a_failure() {
    let world = World::start().await;
    let backend = Backend::start("a").await;
    let serving = world.serving(&[&backend]).await;
    let mut client = Client::connect(serving.address).await;
    let open = &backend.script.open;
    for round in 1..=100 {
        assert_eq!(client.get("/").await.status, 200, "round {round}");
        assert_eq!(backend.script.connections.load(Ordering::Acquire), round);
        backend.script.hang_up.notify_waiters();
        // No pause: the load balancer's task may not have been told of the close yet.
        while open.load(Ordering::Acquire) > 0 {
            tokio::task::yield_now().await;
        }
    }
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_target_are_reused() {
    let world = World::start().await;
    let backend = Backend::start("a").await;
    let serving = world.serving(&[&backend]).await;
    for _ in 0..20 {
        assert_eq!(get(serving.address, "/").await.text, "a");
    }
    let connections = backend.script.connections.load(Ordering::Relaxed);
    assert!(
        connections < 10,
        "{connections} connections for 20 requests"
    );
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_pass_and_end_when_both_sides_are_silent() {
    let world = World::start().await;
    let backend = Backend::start("a").await;
    let serving = world.serving(&[&backend]).await;
    world
        .set_balancer(&serving.balancer, "idle_timeout.timeout_seconds", "1")
        .await;
    let mut socket = websocket(serving.address).await;
    let mut buffer = [0; 5];
    // Longer than the time-out in all, but never silent for it.
    for _ in 0..6 {
        socket.write_all(b"hello").await.unwrap();
        socket.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"hello");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let silent = Instant::now();
    let end = timeout(Duration::from_secs(10), socket.read(&mut buffer)).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    assert!(silent.elapsed() >= Duration::from_millis(500));
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_lets_requests_end_and_takes_no_new_ones() {
    let world = World::start().await;
    let (old, new) = (Backend::start("old").await, Backend::start("new").await);
    let serving = world.serving(&[&old]).await;
    world
        .set_group(
            &serving.group,
            "deregistration_delay.timeout_seconds",
            "3600",
        )
        .await;
    let address = serving.address;
    let slow = tokio::spawn(async move { get(address, "/slow").await });
    old.script.slow.notified().await;
    let mut socket = websocket(address).await;

    world.register(&serving.group, &new).await;
    world
        .until(&serving.group, new.address, "healthy", "")
        .await;
    world.deregister(&serving.group, &old).await;
    let draining = (
        "draining".to_owned(),
        "Target.DeregistrationInProgress".to_owned(),
    );
    assert_eq!(world.health(&serving.group, old.address).await, draining);
    for _ in 0..20 {
        assert_eq!(get(address, "/").await.text, "new");
    }
    // What was under way goes on.
    let mut buffer = [0; 2];
    socket.write_all(b"hi").await.unwrap();
    socket.read_exact(&mut buffer).await.unwrap();
    old.script.release.notify_one();
    assert_eq!(slow.await.unwrap().text, "old");
    // Nothing of HTTP is in flight any more; the state stays until the delay is over.
    assert_eq!(world.health(&serving.group, old.address).await, draining);

    world.lab.clock.set_speed(100_000.0);
    let end = timeout(Duration::from_secs(10), socket.read(&mut buffer)).await;
    assert!(
        matches!(end, Ok(Ok(0) | Err(_))),
        "cut at the end of the delay: {end:?}"
    );
    world
        .until(
            &serving.group,
            old.address,
            "unused",
            "Target.NotRegistered",
        )
        .await;
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_clients_are_disconnected() {
    let world = World::start().await;
    let backend = Backend::start("a").await;
    let serving = world.serving(&[&backend]).await;
    world
        .set_balancer(&serving.balancer, "idle_timeout.timeout_seconds", "1")
        .await;
    let mut client = Client::connect(serving.address).await;
    assert_eq!(client.get("/").await.status, 200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(client.get("/").await.status, 200, "not yet");
    eventually("the connection is closed", async || {
        // Looking for the end without sending anything.
        client.is_closed()
    })
    .await;
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zones_come_and_go_without_touching_the_others() {
    let world = World::start().await;
    let backend = Backend::start("a").await;
    let serving = world.serving(&[&backend]).await;
    let nodes = world.nodes().await;
    assert_eq!(nodes.len(), 2);
    let (kept, dropped) = (nodes[0], nodes[1]);
    assert_eq!(
        kept, serving.address,
        "the name is the first zone's address"
    );
    let (mut stays, mut goes) = (websocket(kept).await, websocket(dropped).await);

    let mut subnets = world.subnets();
    subnets.remove(1);
    let fields = [
        ("LoadBalancerArn", serving.balancer.as_str()),
        ("Subnets.member.1", &subnets[0]),
        ("Subnets.member.2", &subnets[1]),
    ];
    world.call("SetSubnets", &fields).await;
    let mut buffer = [0; 2];
    let end = timeout(Duration::from_secs(10), goes.read(&mut buffer)).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    stays.write_all(b"hi").await.unwrap();
    stays.read_exact(&mut buffer).await.unwrap();
    let nodes = world.nodes().await;
    assert_eq!(nodes.len(), 2);
    assert!(nodes.contains(&kept) && !nodes.contains(&dropped));
    for node in nodes {
        assert_eq!(get(node, "/").await.text, "a");
    }
    world.lab.stop().await;
}
