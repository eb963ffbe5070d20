//! The database schema: which migrations a version has, and how they are applied.
//!
//! As in the real server: every start migrates, under a lock row in `db_lock`; what was applied stands
//! in `db_migrations`; an older binary on a newer schema does nothing and says nothing.

mod list;
pub(crate) mod lock;
mod migrate;
mod plan;

pub use list::{MIGRATIONS, Migration};
pub use migrate::{MigrateError, MigrateOptions, Outcome, applied, migrate};
pub use plan::{Plan, PlanError, downgrade, migrations_of, select};

#[cfg(test)]
mod tests;
