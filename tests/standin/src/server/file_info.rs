//! The table `fileinfo`: what is known of a file beside its bytes.

use serde_json::{Value, json};
use tokio_postgres::{Client, Row};

use super::session::Session;
use crate::ids;

const COLUMNS: &str = "id, creatorid, postid, channelid, createat, updateat, deleteat, path, name, extension, size, mimetype";

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileInfo {
    pub(super) id: String,
    pub(super) creator_id: String,
    /// Empty until the file is posted.
    pub(super) post_id: String,
    pub(super) channel_id: String,
    pub(super) create_at: i64,
    pub(super) update_at: i64,
    pub(super) delete_at: i64,
    /// In the file store.
    pub(super) path: String,
    pub(super) name: String,
    /// Without its dot.
    pub(super) extension: String,
    pub(super) size: i64,
    /// Empty when the extension says nothing.
    pub(super) mime_type: String,
}

impl FileInfo {
    /// A new file of `size` bytes, uploaded at `now` (milliseconds since the epoch).
    pub(super) fn new(session: &Session, channel: &str, name: &str, size: i64, now: i64) -> Self {
        let id = ids::new_id();
        // As the real server: nothing of a path, whatever the client sent.
        let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = if matches!(name, "" | "." | "..") {
            "file"
        } else {
            name
        };
        let extension = name
            .rsplit_once('.')
            .map(|(_, extension)| extension.to_ascii_lowercase())
            .unwrap_or_default();
        Self {
            path: format!(
                "{}/teams/noteam/channels/{channel}/users/{}/{id}/{name}",
                day(now),
                session.user_id
            ),
            id,
            creator_id: session.user_id.clone(),
            post_id: String::new(),
            channel_id: channel.to_owned(),
            create_at: now,
            update_at: now,
            delete_at: 0,
            mime_type: mime_type(&extension).to_owned(),
            name: name.to_owned(),
            extension,
            size,
        }
    }

    fn read(row: &Row) -> Self {
        let text = |column: &str| row.get::<_, Option<String>>(column).unwrap_or_default();
        let number = |column: &str| row.get::<_, Option<i64>>(column).unwrap_or_default();
        Self {
            id: text("id"),
            creator_id: text("creatorid"),
            post_id: text("postid"),
            channel_id: text("channelid"),
            create_at: number("createat"),
            update_at: number("updateat"),
            delete_at: number("deleteat"),
            path: text("path"),
            name: text("name"),
            extension: text("extension"),
            size: number("size"),
            mime_type: text("mimetype"),
        }
    }

    /// As the API shows it.
    pub(super) fn json(&self) -> Value {
        let mut info = json!({
            "id": self.id,
            "user_id": self.creator_id,
        });
        if !self.post_id.is_empty() {
            info["post_id"] = self.post_id.as_str().into();
        }
        for (key, value) in [
            ("channel_id", json!(self.channel_id)),
            ("create_at", json!(self.create_at)),
            ("update_at", json!(self.update_at)),
            ("delete_at", json!(self.delete_at)),
            ("name", json!(self.name)),
            ("extension", json!(self.extension)),
            ("size", json!(self.size)),
            ("mime_type", json!(self.mime_type)),
            ("mini_preview", Value::Null),
            ("remote_id", json!("")),
            ("archived", json!(false)),
        ] {
            info[key] = value;
        }
        info
    }
}

/// `20260131`.
fn day(now: i64) -> String {
    jiff::Timestamp::from_millisecond(now)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y%m%d")
        .to_string()
}

/// The kinds that Go's table knows without the help of the machine's, and a few of the machine's.
fn mime_type(extension: &str) -> &'static str {
    match extension {
        "txt" => "text/plain; charset=utf-8",
        "htm" | "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "xml" => "text/xml; charset=utf-8",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        _ => "",
    }
}

pub(super) async fn insert(
    connection: &Client,
    info: &FileInfo,
) -> Result<(), tokio_postgres::Error> {
    connection
        .execute(
            "INSERT INTO fileinfo (id, creatorid, postid, channelid, createat, updateat, deleteat, path, thumbnailpath, \
             previewpath, name, extension, size, mimetype, width, height, haspreviewimage) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '', '', $9, $10, $11, $12, 0, 0, false)",
            &[
                &info.id,
                &info.creator_id,
                &info.post_id,
                &info.channel_id,
                &info.create_at,
                &info.update_at,
                &info.delete_at,
                &info.path,
                &info.name,
                &info.extension,
                &info.size,
                &info.mime_type,
            ],
        )
        .await
        .map(drop)
}

pub(super) async fn get(
    connection: &Client,
    id: &str,
) -> Result<Option<FileInfo>, tokio_postgres::Error> {
    let row = connection
        .query_opt(
            &format!("SELECT {COLUMNS} FROM fileinfo WHERE id = $1 AND deleteat = 0"),
            &[&id],
        )
        .await?;
    Ok(row.as_ref().map(FileInfo::read))
}

/// Gives files to a post; returns those that were its author's and not yet posted.
pub(super) async fn attach(
    connection: &Client,
    ids: &[String],
    author: &str,
    post: &str,
    channel: &str,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = connection
        .query(
            "UPDATE fileinfo SET postid = $3, channelid = $4 \
             WHERE id = ANY($1) AND creatorid = $2 AND postid = '' AND deleteat = 0 RETURNING id",
            &[&ids, &author, &post, &channel],
        )
        .await?;
    let attached: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok(ids
        .iter()
        .filter(|id| attached.contains(id))
        .cloned()
        .collect())
}

/// The files of posts, in the order of their uploads.
pub(super) async fn of_posts(
    connection: &Client,
    posts: &[String],
) -> Result<Vec<FileInfo>, tokio_postgres::Error> {
    let rows = connection
        .query(
            &format!(
                "SELECT {COLUMNS} FROM fileinfo WHERE postid = ANY($1) AND deleteat = 0 ORDER BY createat, id"
            ),
            &[&posts],
        )
        .await?;
    Ok(rows.iter().map(FileInfo::read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_built_as_the_real_server_builds_them() {
        let session = Session {
            token: String::new(),
            user_id: "u".repeat(26),
            username: "name".to_owned(),
            admin: false,
        };
        let info = FileInfo::new(&session, "c", "../up\\Report.PDF", 3, 1_800_000_000_000);
        let expected = format!(
            "20270115/teams/noteam/channels/c/users/{}/{}/Report.PDF",
            session.user_id, info.id
        );
        assert_eq!(info.path, expected);
        assert_eq!(
            (info.extension.as_str(), info.mime_type.as_str()),
            ("pdf", "application/pdf")
        );
        assert!(info.json().get("post_id").is_none());
        let nameless = FileInfo::new(&session, "c", "..", 0, 0);
        assert!(nameless.path.ends_with("/file"), "{}", nameless.path);
    }
}
