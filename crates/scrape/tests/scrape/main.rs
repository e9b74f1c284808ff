//! The scraper against real servers on loopback: targets, those that name targets, and a Kubernetes API.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod discovering;
mod failing;
mod harness;
mod identity;
mod kubernetes;
mod scraping;
