//! What an administrator makes and nobody may lose: a setting of the System Console, a plugin, a public
//! link. It is made once at the start, and looked after whenever asked.
//!
//! ```text
//!   start ── PUT /config, POST /plugins + enable, GET /files/{id}/link ──> Done | Refused | LeftOut
//!   check ── each on several connections, through the load balancer ────> Verdict, three of them
//! ```
//!
//! What could not be made is broken at each check: a run that could not try proves nothing.

mod asking;
mod bundle;
mod link;
mod plugin;
mod settings;

use std::time::Duration;

pub use bundle::{Bundle, BundleError, smallest_bundle};

use crate::api::{Api, LoadError};
use crate::options::LastingOptions;
use crate::report::Verdict;
use crate::run::Shared;
use asking::Asking;

/// Enabling a real plugin starts it before it answers.
const TIMEOUT: Duration = Duration::from_secs(90);

/// What became of something that was to be made.
pub(crate) enum Made<T> {
    Done(T),
    /// The server did not take it.
    Refused(String),
    /// Nobody asked for it, or there is nothing to make it of.
    LeftOut(String),
}

impl<T> Made<T> {
    fn of(made: Result<T, String>) -> Self {
        made.map_or_else(Self::Refused, Self::Done)
    }

    fn not_asked_for() -> Self {
        Self::LeftOut("not asked for".to_owned())
    }

    /// The thing to be checked, or the verdict without a check.
    fn held(&self) -> Result<&T, Verdict> {
        match self {
            Self::Done(thing) => Ok(thing),
            Self::Refused(why) => Err(Verdict::Broken(why.clone())),
            Self::LeftOut(why) => Err(Verdict::LeftOut(why.clone())),
        }
    }
}

/// The verdicts of one check: settings, plugin, link.
pub(crate) type Verdicts = (Verdict, Verdict, Verdict);

/// All that was made.
pub(crate) struct Lasting {
    admin: Api,
    anybody: Api,
    options: LastingOptions,
    site_name: Made<String>,
    plugin: Made<String>,
    link: Made<link::Link>,
}

impl Lasting {
    /// Makes everything that is wanted; what the server refuses shows at each check.
    pub(crate) async fn make(shared: &Shared, options: &LastingOptions) -> Result<Self, LoadError> {
        let admin = shared.admin.spread(TIMEOUT)?;
        let asking = Asking::patient(options);
        let site_name = if options.settings {
            // Mattermost allows 30 characters.
            let name = format!("Load {}", shared.run);
            Made::of(settings::set(&admin, name, asking).await)
        } else {
            Made::not_asked_for()
        };
        let plugin = plugin::install(&admin, &options.plugin, asking).await;
        let link = if options.link {
            Made::of(link::make(shared, asking).await)
        } else {
            Made::not_asked_for()
        };
        Ok(Self {
            anybody: admin.anonymous(),
            admin,
            options: options.clone(),
            site_name,
            plugin,
            link,
        })
    }

    /// The check right after making: a change has [`LastingOptions::patience`] to be everywhere.
    pub(crate) async fn check_first(&self) -> Verdicts {
        self.check(Asking::patient(&self.options)).await
    }

    /// Any later check: a wrong answer is final, for what was right once must not be wrong again. Only a
    /// plugin has time, since each server starts its own.
    pub(crate) async fn check_again(&self) -> Verdicts {
        self.check(Asking::strict(&self.options)).await
    }

    async fn check(&self, asking: Asking) -> Verdicts {
        let settings = async {
            match self.site_name.held() {
                Ok(name) => settings::check(&self.anybody, name, asking).await,
                Err(verdict) => verdict,
            }
        };
        let plugin = async {
            let starting = Asking::patient(&self.options);
            match self.plugin.held() {
                Ok(id) => plugin::check(&self.admin, id, starting).await,
                Err(verdict) => verdict,
            }
        };
        let link = async {
            match self.link.held() {
                Ok(link) => link::check(&self.anybody, link, asking).await,
                Err(verdict) => verdict,
            }
        };
        tokio::join!(settings, plugin, link)
    }

    /// The `SiteName` that was set.
    pub(crate) fn site_name(&self) -> Option<&String> {
        self.site_name.held().ok()
    }

    /// The plugin that was installed.
    pub(crate) fn plugin(&self) -> Option<&String> {
        self.plugin.held().ok()
    }
}
