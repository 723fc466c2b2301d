//! What was cut of a generation's exchanges, counted where the cut took effect.
//!
//! A drain or an operator asks exchanges to end ([`super::Exchange::ask_cut`]); many end by
//! themselves in that very moment, a WebSocket may even end politely. So nobody counts what was
//! asked: an exchange that was cut tells its claim ([`super::Claim::was_cut`]) before it gives the
//! count back, and whoever finds the generation idle finds all cuts here.

use super::{Exchange, ExchangeReport};

/// Exchanges listed of those that were cut.
pub const CUTS_LISTED_MAX: usize = 20;

/// What was cut.
#[derive(Clone, Debug, Default)]
pub struct Cuts {
    /// Requests.
    pub requests: u32,
    /// Tunnels.
    pub tunnels: u32,
    /// The first [`CUTS_LISTED_MAX`] of them, as they were then.
    pub listed: Vec<ExchangeReport>,
}

impl Cuts {
    /// Whether nothing was cut.
    pub fn is_empty(&self) -> bool {
        self.requests == 0 && self.tunnels == 0
    }

    pub(super) fn add(&mut self, exchange: &Exchange) {
        match exchange.is_tunnel() {
            true => self.tunnels += 1,
            false => self.requests += 1,
        }
        if self.listed.len() < CUTS_LISTED_MAX {
            self.listed.push(exchange.report());
        }
    }
}

/// How many exchanges were asked to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// Requests.
    pub requests: u32,
    /// Tunnels.
    pub tunnels: u32,
}
