//! What the parts on the request path cost, each alone: `cargo bench --bench micro [-- FILTER]`.
//!
//! These say where time goes and catch what grows with the number of threads or backends. What a whole request
//! costs, beside other proxies, is measured in `benches/compare`. Figures from two runs are compared only if the
//! machine was as quiet in both.

mod claims;
mod metrics;
mod publish;
mod routing;
mod selection;
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}
