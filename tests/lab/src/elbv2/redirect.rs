//! Redirects: parts of the request's address, some of them replaced.

use crate::api::{ApiError, Params};

/// A redirection; `#{protocol}`, `#{host}`, `#{port}`, `#{path}` and `#{query}` stand for the request's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    pub protocol: String,
    pub host: String,
    pub port: String,
    pub path: String,
    pub query: String,
    /// 301 or 302.
    pub status: u16,
}

impl Redirect {
    /// The `RedirectConfig` of an action.
    pub fn parse(action: &Params) -> Result<Self, ApiError> {
        let config = action
            .sub("RedirectConfig")
            .ok_or_else(|| ApiError::missing("RedirectConfig"))?;
        let status = match config.str("StatusCode")?.as_str() {
            "HTTP_301" => 301,
            "HTTP_302" => 302,
            other => {
                return Err(validation(format!(
                    "Redirect status code '{other}' must be HTTP_301 or HTTP_302"
                )));
            }
        };
        let or = |name: &str, default: &str| config.opt(name).unwrap_or_else(|| default.to_owned());
        let redirect = Self {
            protocol: or("Protocol", "#{protocol}"),
            host: or("Host", "#{host}"),
            port: or("Port", "#{port}"),
            path: or("Path", "/#{path}"),
            query: or("Query", "#{query}"),
            status,
        };
        if !["HTTP", "HTTPS", "#{protocol}"].contains(&redirect.protocol.as_str()) {
            return Err(validation(format!(
                "Redirect protocol '{}' must be HTTP, HTTPS or #{{protocol}}",
                redirect.protocol
            )));
        }
        if redirect.port != "#{port}" && redirect.port.parse::<u16>().is_err() {
            return Err(validation(format!(
                "Redirect port '{}' must be in the range 1-65535 or #{{port}}",
                redirect.port
            )));
        }
        if !redirect.path.starts_with('/') {
            return Err(validation(format!(
                "Redirect path '{}' must begin with '/'",
                redirect.path
            )));
        }
        if redirect.keeps_address() {
            return Err(ApiError::new(
                "InvalidLoadBalancerAction",
                "A redirect must change at least one of protocol, host, port or path, or it would loop".to_owned(),
            ));
        }
        Ok(redirect)
    }

    fn keeps_address(&self) -> bool {
        self.protocol == "#{protocol}"
            && self.host == "#{host}"
            && self.port == "#{port}"
            && self.path == "/#{path}"
    }

    /// The `Location` for a request.
    pub fn location(&self, request: &Requested<'_>) -> String {
        let fill = |template: &str| {
            template
                .replace("#{protocol}", request.protocol)
                .replace("#{host}", request.host)
                .replace("#{port}", &request.port.to_string())
                .replace("#{path}", request.path.trim_start_matches('/'))
                .replace("#{query}", request.query)
        };
        let protocol = fill(&self.protocol).to_ascii_lowercase();
        let query = fill(&self.query);
        let mark = if query.is_empty() { "" } else { "?" };
        format!(
            "{protocol}://{}:{}{}{mark}{query}",
            fill(&self.host),
            fill(&self.port),
            fill(&self.path)
        )
    }
}

/// The parts of a request that a redirect may keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requested<'a> {
    /// `http` or `https`.
    pub protocol: &'a str,
    /// Without the port.
    pub host: &'a str,
    pub port: u16,
    pub path: &'a str,
    /// Without the question mark.
    pub query: &'a str,
}

fn validation(message: String) -> ApiError {
    ApiError::new("ValidationError", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &[(&str, &str)]) -> Result<Redirect, ApiError> {
        let fields = fields
            .iter()
            .map(|(key, value)| (format!("RedirectConfig.{key}"), (*value).to_owned()));
        Redirect::parse(&Params::from_form(fields, true))
    }

    #[test]
    fn redirects_fill_in_the_request() {
        let redirect = parse(&[
            ("Protocol", "HTTPS"),
            ("Port", "443"),
            ("StatusCode", "HTTP_301"),
        ])
        .unwrap();
        let requested = Requested {
            protocol: "http",
            host: "chat.example.com",
            port: 80,
            path: "/a/b",
            query: "c=d",
        };
        assert_eq!(
            redirect.location(&requested),
            "https://chat.example.com:443/a/b?c=d"
        );
    }

    #[test]
    fn loops_and_nonsense_are_refused() {
        for fields in [
            &[("StatusCode", "HTTP_301")][..],
            &[("StatusCode", "HTTP_308"), ("Port", "443")],
            &[("StatusCode", "HTTP_301"), ("Port", "https")],
            &[("StatusCode", "HTTP_301"), ("Path", "no-slash")],
        ] {
            assert!(parse(fields).is_err(), "{fields:?}");
        }
    }
}
