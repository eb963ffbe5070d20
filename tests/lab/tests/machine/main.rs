//! Instances as machines: booted, spoken to, stopped, kept as images, and gone without a trace. Skipped,
//! loudly, where the host cannot have machines.

#[expect(dead_code, reason = "made for the tests of EC2; these need less of it")]
#[path = "../ec2/support.rs"]
mod support;

mod host;
mod life;
mod traces;
