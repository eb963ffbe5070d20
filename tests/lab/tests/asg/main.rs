//! Auto Scaling and CloudWatch against the lab's EC2 and ELB, at high speed.
//!
//! Each test has a lab of its own with addresses of its own (the octet given to `World::start`).

mod alarms;
mod encryption;
mod groups;
mod hooks;
mod instances;
mod load_balancers;
mod support;
mod templates;
