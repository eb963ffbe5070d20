//! The packed binary, driven from outside: what an installer, a probe and a chat client see.

mod chat;
mod cluster;
mod downloads;
mod health;
mod life;
mod support;
mod upgrades;
