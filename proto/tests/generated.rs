//! The committed code is what the `.proto` files say. With `UPDATE_GENERATED=1` it is rewritten.

use std::path::Path;

#[test]
fn generated_code_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(
        ["fleet/v1/node.proto", "fleet/v1/control.proto"],
        [root.join("proto")],
    )
    .unwrap();
    std::fs::write(
        fresh.path().join("descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )
    .unwrap();
    tonic_prost_build::configure()
        .out_dir(fresh.path())
        .compile_fds(descriptors)
        .unwrap();
    for name in ["fleet.v1.rs", "descriptors.bin"] {
        let new = std::fs::read(fresh.path().join(name)).unwrap();
        let committed = root.join("src/gen").join(name);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(&committed, &new).unwrap();
        }
        let old = std::fs::read(&committed).unwrap_or_default();
        assert!(
            old == new,
            "{} is stale: run UPDATE_GENERATED=1 cargo test -p fleet-proto",
            committed.display()
        );
    }
}
