//! A machine's life: boot, metadata, network, journal, stop and start, image, hang and crash.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::host::{
    base_image, base_tree, booted, inside, said, try_inside, until_up, until_up_again, world,
};
use crate::support::{EAST, until};

/// Asks the metadata service as a machine's software does.
fn metadata(id: &str, path: &str) -> String {
    let script = format!(
        "token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' \
           http://169.254.169.254/latest/api/token) && \
         curl -sf -H \"X-aws-ec2-metadata-token: $token\" http://169.254.169.254/latest/{path}"
    );
    inside(id, &script)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_boots_with_address_metadata_and_journal() {
    let Some(tree) = base_tree() else { return };
    let world = world(160).await;
    let image = base_image(&world, &tree).await;
    let vpc = world.ok("DescribeVpcs", &[]).await.text("vpcId");
    let of_vpc = ("VpcId", vpc.as_str());
    let elsewhere = [of_vpc, ("CidrBlock", "127.160.0.0/24")];
    let code = "InvalidSubnet.Range";
    world.refused(400, code, "CreateSubnet", &elsewhere).await;
    let inside_it = [of_vpc, ("CidrBlock", "10.160.100.0/24")];
    let subnet = world.ok("CreateSubnet", &inside_it).await.text("subnetId");
    let user_data = [("UserData", "aGVsbG8=")];
    let in_subnet = [("SubnetId", subnet.as_str())];
    let (first, second) = tokio::join!(
        booted(&world, &image, &user_data),
        booted(&world, &image, &in_subnet)
    );

    let address = |id: &str| {
        lab::ec2::instance(&world.lab, EAST, id)
            .expect("it exists")
            .private_ip
    };
    assert!(address(&first).to_string().starts_with("10.160."));
    assert_eq!(address(&second).to_string(), "10.160.100.4");
    for id in [&first, &second] {
        assert_eq!(&metadata(id, "meta-data/instance-id"), id);
        let told = metadata(id, "meta-data/local-ipv4");
        assert_eq!(told, address(id).to_string());
        assert!(inside(id, "ip -brief address show eth0").contains(&told));
        let mac = metadata(id, "meta-data/mac");
        assert_eq!(inside(id, "cat /sys/class/net/eth0/address"), mac);
    }
    assert_eq!(inside(&first, "ls /sys/class/net"), "eth0\nlo");
    assert_eq!(metadata(&first, "user-data"), "hello");
    let untold = "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/";
    assert_eq!(inside(&first, untold), "401");

    // The other machine, and what listens on an address of the VPC; not the host's loopback.
    let listen = |address: &str| {
        let listener = TcpListener::bind((address, 0)).expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        (listener, format!("{address}/{port}"))
    };
    let (_of_vpc, vpc) = listen("10.160.0.3");
    let (_of_loopback, loopback) = listen("127.0.0.1");
    let reach = |to: String| {
        let script = format!("timeout 5 bash -c 'exec 3<>/dev/tcp/{to}' 2>&1 && echo reached");
        try_inside(&first, &script).ends_with("reached")
    };
    assert!(reach(format!("{}/22", address(&second))));
    assert!(reach(vpc));
    assert!(!reach(loopback));

    let host = world.lab.config.directory.join("instances").join(&first);
    let journal = host.join("upper/var/log/journal");
    inside(
        &first,
        "logger --journald <<< $'MESSAGE=told by the test\\nWHO=test' && journalctl --sync",
    );
    let read = said(
        Command::new("journalctl")
            .arg("--directory")
            .arg(&journal)
            .args(["WHO=test", "--output=cat", "--no-pager"]),
    );
    assert_eq!(read.trim(), "told by the test");
    let console = std::fs::read_to_string(host.join("console.log")).expect("a console");
    assert!(console.contains("systemd"), "{console}");
    let answer = world
        .ok("GetConsoleOutput", &[("InstanceId", &first)])
        .await;
    assert!(!answer.text("output").is_empty());
    // The first answer is none, unless CloudWatch has asked before.
    let _ = lab::runtime::cpu_percent(&world.lab, &first);
    assert!(lab::runtime::cpu_percent(&world.lab, &first).is_some_and(|used| used >= 0.0));
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_live_through_stop_start_and_image() {
    let Some(tree) = base_tree() else { return };
    let world = world(162).await;
    let image = base_image(&world, &tree).await;
    let id = booted(&world, &image, &[]).await;
    let boot = inside(
        &id,
        "cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic",
    );
    inside(
        &id,
        "echo kept > /etc/kept && chown admin:admin /etc/kept && chmod 0640 /etc/kept && \
         rm /etc/issue && rm -r /etc/skel && mkdir /etc/skel && ln -s kept /etc/link",
    );

    let pairs = [("InstanceId.1", id.as_str())];
    world.ok("StopInstances", &pairs).await;
    world.until_state(EAST, &id, "stopped").await;
    assert_eq!(try_inside(&id, "true; echo up"), "", "it is stopped");
    world.ok("StartInstances", &pairs).await;
    world.until_state(EAST, &id, "running").await;
    until_up(&id).await;
    let look = "cat /etc/kept; stat -c '%U %a' /etc/kept; readlink /etc/link; \
                ls -A /etc/skel | wc -l; test ! -e /etc/issue && echo removed";
    let expected = "kept\nadmin 640\nkept\n0\nremoved";
    assert_eq!(inside(&id, look), expected);
    let again = inside(
        &id,
        "cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic",
    );
    assert_ne!(boot, again, "it booted again");

    let made = world
        .ok("CreateImage", &[("InstanceId", &id), ("Name", "second")])
        .await
        .text("imageId");
    until("the image is available", || {
        let name = [("ImageId.1", made.as_str())];
        let answer = futures_util::FutureExt::now_or_never(world.ok("DescribeImages", &name));
        answer.is_some_and(|answer| answer.text("imageState") == "available")
    })
    .await;
    // What is done to the instance later is not in the image.
    until_up(&id).await;
    inside(&id, "rm /etc/kept");
    let other = booted(&world, &made, &[]).await;
    assert_eq!(inside(&other, look), expected);
    world.ok("DeregisterImage", &[("ImageId", &made)]).await;
    assert_eq!(inside(&other, look), expected, "its layers stay below it");
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_hangs_and_crashes_on_demand() {
    let Some(tree) = base_tree() else { return };
    let world = world(164).await;
    let image = base_image(&world, &tree).await;
    let id = booted(&world, &image, &[]).await;
    let address = lab::ec2::instance(&world.lab, EAST, &id)
        .expect("it exists")
        .private_ip;
    let path = format!("ec2/instances/{id}/freeze");
    let freeze = |frozen: bool| world.control(Method::POST, &path, json!({ "frozen": frozen }));

    let answer = freeze(true).await;
    assert!(!answer.contains(":0}"), "{answer}");
    // The kernel takes the connection; nobody there says anything.
    let mut stream = TcpStream::connect((address, 22)).expect("a connection");
    let wait = |stream: &TcpStream, time| stream.set_read_timeout(Some(time)).expect("a time-out");
    wait(&stream, Duration::from_millis(500));
    let mut first = [0_u8; 4];
    assert!(stream.read_exact(&mut first).is_err(), "it hangs");
    freeze(false).await;
    wait(&stream, Duration::from_mins(1));
    stream.read_exact(&mut first).expect("it goes on");
    assert_eq!(&first, b"SSH-");

    inside(&id, "echo before > /etc/crash && sync");
    let path = format!("ec2/instances/{id}/kill");
    let killed = async || {
        world.control(Method::POST, &path, json!({})).await;
    };
    until_up_again(&id, killed).await;
    assert_eq!(metadata(&id, "meta-data/instance-id"), id);
    assert_eq!(inside(&id, "cat /etc/crash"), "before");

    // Rebooted by the API, and by itself.
    let by_api = async || {
        world.ok("RebootInstances", &[("InstanceId.1", &id)]).await;
    };
    until_up_again(&id, by_api).await;
    let by_itself = async || {
        try_inside(&id, "systemctl reboot");
    };
    until_up_again(&id, by_itself).await;
    assert_eq!(metadata(&id, "meta-data/instance-id"), id);
    assert_eq!(inside(&id, "cat /etc/crash"), "before");
    world.lab.stop().await;
}
