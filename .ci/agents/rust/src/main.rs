//! Work under Pyroscope's crate: `flamestore-agents SERVICE`. `flame_work_hot` takes three times as long as `flame_work_cold`.

use std::error::Error;
use std::hint::black_box;

use pyroscope::backend::{BackendConfig, PprofConfig, pprof_backend};
use pyroscope::pyroscope::PyroscopeAgentBuilder;

#[inline(never)]
fn burn(times: u32) {
    let mut number = 1_u32;
    for _ in 0..times * 1_000_000 {
        number = black_box(number.wrapping_mul(1_103_515_245).wrapping_add(12_345));
    }
}

#[inline(never)]
fn flame_work_hot() {
    burn(3);
}

#[inline(never)]
fn flame_work_cold() {
    burn(1);
}

fn main() -> Result<(), Box<dyn Error>> {
    let service = std::env::args().nth(1).ok_or("no service")?;
    let server = std::env::var("FLAMESTORE_SERVER")?;
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "there is a provider already")?;
    let backend = pprof_backend(PprofConfig::default(), BackendConfig::default());
    let agent = PyroscopeAgentBuilder::new(server, service, 100, "pyroscope-rs", "2.1.5", backend)
        .tags(vec![("region", "eu")])
        .build()?;
    let _running = agent.start()?;
    loop {
        flame_work_hot();
        flame_work_cold();
    }
}
