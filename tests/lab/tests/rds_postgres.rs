//! RDS with the machine's real PostgreSQL: states by the clock, servers that really do what AWS says.
//!
//! Each test has a lab of its own, in a 127.N.0.0/16 of its own, at high speed.

#[path = "rds_postgres/answers.rs"]
mod answers;
#[path = "rds_postgres/failures.rs"]
mod failures;
#[path = "rds_postgres/fixture.rs"]
mod fixture;
#[path = "rds_postgres/instances.rs"]
mod instances;
#[path = "rds_postgres/modifications.rs"]
mod modifications;
#[path = "rds_postgres/point_in_time.rs"]
mod point_in_time;
#[path = "rds_postgres/refusals.rs"]
mod refusals;
#[path = "rds_postgres/replicas.rs"]
mod replicas;
#[path = "rds_postgres/secrets.rs"]
mod secrets;
