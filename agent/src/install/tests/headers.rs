//! Archives whose headers lie, contradict each other, or say more than releases say: names too long,
//! pax records, GNU extensions, sizes.

use tar::EntryType;

use super::fixture::{NEW, Tar, gzip};

fn good() -> Tar {
    Tar::good(NEW)
}

/// The last header's size field, as these bytes; its checksum is right.
fn sized(tar: &[u8], size: &[u8]) -> Vec<u8> {
    let mut tar = tar.to_vec();
    let at = (0..tar.len() - 1024)
        .step_by(512)
        .rfind(|at| &tar[at + 257..at + 262] == b"ustar")
        .unwrap();
    tar[at + 124..at + 124 + size.len()].copy_from_slice(size);
    let mut header = tar::Header::from_byte_slice(&tar[at..at + 512]).clone();
    header.set_cksum();
    tar[at..at + 512].copy_from_slice(header.as_bytes());
    tar
}

/// As [`super::archives`] has them.
pub fn cases() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let long = "n".repeat(99);
    let deep = format!("mattermost/{}", "d/".repeat(600));
    let huge_name = vec![b'a'; 4 << 20];
    vec![
        (
            "long component",
            good()
                .entry(
                    b"l",
                    EntryType::GNULongName,
                    0o644,
                    "",
                    format!("mattermost/{}", long.repeat(3)).as_bytes(),
                )
                .file("s", b"")
                .packed(),
            "archive_name_too_long",
        ),
        (
            "long path",
            good()
                .entry(b"l", EntryType::GNULongName, 0o644, "", deep.as_bytes())
                .file("s", b"")
                .packed(),
            "archive_name_too_long",
        ),
        (
            "huge long name",
            good()
                .entry(b"l", EntryType::GNULongName, 0o644, "", &huge_name)
                .file("s", b"")
                .packed(),
            "archive_name_too_long",
        ),
        (
            "huge pax header",
            good()
                .entry(b"p", EntryType::XHeader, 0o644, "", &huge_name)
                .file("s", b"")
                .packed(),
            "archive_name_too_long",
        ),
        (
            "pax traversal",
            good()
                .pax(EntryType::XHeader, &[("path", "mattermost/../../x")])
                .file("s", b"")
                .packed(),
            "archive_traversal",
        ),
        (
            "pax absolute link",
            good()
                .pax(EntryType::XHeader, &[("linkpath", "/etc")])
                .link("mattermost/l", "bin")
                .packed(),
            "archive_link_leaves",
        ),
        (
            "pax second size",
            good()
                .pax(EntryType::XHeader, &[("size", "4")])
                .file("mattermost/x", b"1")
                .packed(),
            "archive_unsupported",
        ),
        (
            "pax sparse",
            good()
                .pax(EntryType::XHeader, &[("GNU.sparse.major", "1")])
                .file("mattermost/x", b"1")
                .packed(),
            "archive_unsupported",
        ),
        (
            "pax names all",
            good()
                .pax(EntryType::XGlobalHeader, &[("path", "x")])
                .file("mattermost/x", b"1")
                .packed(),
            "archive_unsupported",
        ),
        (
            "GNU sparse",
            good().kind("mattermost/s", EntryType::GNUSparse).packed(),
            "archive_unsupported",
        ),
        (
            "unknown kind",
            good().kind("mattermost/s", EntryType::new(b'Q')).packed(),
            "archive_unsupported",
        ),
        (
            "line break in a name",
            good().file("mattermost/a\nb", b"").packed(),
            "archive_name_not_text",
        ),
        (
            "name is not UTF-8",
            good()
                .entry(b"mattermost/\xff", EntryType::Regular, 0o644, "", b"")
                .packed(),
            "archive_name_not_text",
        ),
        (
            "size too small",
            gzip(&sized(
                &good().file("mattermost/x", &[7; 2000]).end(),
                b"00000000700",
            )),
            "archive_tar",
        ),
        (
            "size too large",
            gzip(&sized(
                &good().file("mattermost/x", &[7; 2000]).end(),
                b"00000007777",
            )),
            "archive_truncated",
        ),
        (
            "size is no number",
            gzip(&sized(
                &good().file("mattermost/x", b"7").end(),
                b"not a numbe",
            )),
            "archive_tar",
        ),
        (
            "size beyond all measure",
            gzip(&sized(
                &good().file("mattermost/x", b"7").end(),
                b"\x80\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
            )),
            "archive_tar",
        ),
        (
            "size of an exabyte",
            gzip(&sized(
                &good().file("mattermost/x", b"7").end(),
                b"\x80\0\0\0\x10\0\0\0\0\0\0\0",
            )),
            "archive_too_many_bytes",
        ),
        (
            "GNU long link",
            good()
                .entry(
                    b"l",
                    EntryType::GNULongLink,
                    0o644,
                    "",
                    b"../../../etc/passwd\0",
                )
                .link("mattermost/l", "bin")
                .packed(),
            "archive_link_leaves",
        ),
        (
            "GNU long name of another tree",
            good()
                .entry(b"l", EntryType::GNULongName, 0o644, "", b"/etc/cron.d/x\0")
                .file("mattermost/x", b"")
                .packed(),
            "archive_absolute_path",
        ),
        (
            "pax hard link",
            good()
                .pax(EntryType::XHeader, &[("linkpath", "/etc/shadow")])
                .hard_link("mattermost/h", "mattermost/i18n/en.json")
                .packed(),
            "archive_link_leaves",
        ),
        (
            "pax absolute name",
            good()
                .pax(EntryType::XHeader, &[("path", "/etc/cron.d/x")])
                .file("mattermost/x", b"")
                .packed(),
            "archive_absolute_path",
        ),
        (
            "pax name with a zero",
            good()
                .pax(EntryType::XHeader, &[("path", "mattermost/a\0b")])
                .file("mattermost/x", b"")
                .packed(),
            "archive_name_not_text",
        ),
        (
            "pax record of no length",
            good()
                .entry(b"p", EntryType::XHeader, 0o644, "", b"path=mattermost/x\n")
                .file("mattermost/x", b"")
                .packed(),
            "archive_tar",
        ),
        (
            "pax record that ends nowhere",
            good()
                .entry(
                    b"p",
                    EntryType::XHeader,
                    0o644,
                    "",
                    b"999 path=mattermost/x\n",
                )
                .file("mattermost/x", b"")
                .packed(),
            "archive_tar",
        ),
        (
            "old pax sparse",
            good()
                .pax(EntryType::XHeader, &[("GNU.sparse.map", "0,1")])
                .file("mattermost/x", b"1")
                .packed(),
            "archive_unsupported",
        ),
        (
            "volume of several",
            good().kind("mattermost/x", EntryType::new(b'M')).packed(),
            "archive_unsupported",
        ),
        (
            "link to itself through another",
            good()
                .link("mattermost/a", "b")
                .link("mattermost/b", "a")
                .file("mattermost/a/x", b"1")
                .packed(),
            "archive_through_link",
        ),
    ]
}
