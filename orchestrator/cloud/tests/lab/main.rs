//! The cloud against a lab: every effect made twice, seen again, and on a bad day.

mod database;
mod doctor;
mod end;
mod faults;
mod files;
mod fleet;
mod front;
mod images;
mod kept;
mod licence;
mod named_secrets;
mod network;
mod offers;
mod rules;
mod stack;
mod subnets;
mod support;
mod template;
mod traffic;
mod values;
